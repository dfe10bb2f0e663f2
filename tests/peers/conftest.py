import pytest
from hypothesis import HealthCheck, settings

# The same examples each time: a failure is a finding about the code, never about the day.
settings.register_profile(
    "peers", max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
settings.load_profile("peers")


@pytest.fixture
def validating():
    """As torch has it by default: stable_baselines3 turns it off for everybody when it is imported."""
    from torch.distributions import Distribution

    before = Distribution._validate_args
    Distribution.set_default_validate_args(True)
    yield
    Distribution.set_default_validate_args(before)
