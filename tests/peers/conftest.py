from hypothesis import HealthCheck, settings

# The same examples each time: a failure is a finding about the code, never about the day.
settings.register_profile(
    "peers", max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
settings.load_profile("peers")
