"""Distributions in files, and the commands that stream draws and densities to files."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from cases import assert_same_bits, one_of_each

import fastdist as fd
from fastdist import _streamed
from fastdist.__main__ import main

pytestmark = pytest.mark.any_isa  # formats, and processes that write them

t = fd.transforms


def run(*arguments, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "fastdist", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        **kwargs,
    )


def laws():
    rng = np.random.default_rng(0)
    loc, scale = rng.standard_normal((3, 2)), np.array([1.0, 2.0])
    normal = fd.Normal(loc, scale)
    return {
        **one_of_each(),
        "float32": fd.Normal(np.float32(1), np.float32(2)),
        "expanded": normal.expand((4, 3, 2)),
        "unchecked": fd.Normal(loc, scale, validate_args=False),
        "tanh": fd.TransformedDistribution(fd.Independent(normal, 1), [t.TanhTransform()]),
        "transforms": fd.TransformedDistribution(
            normal,
            [
                t.AffineTransform(1.0, scale),
                t.ComposeTransform([t.ExpTransform(), t.PowerTransform(2.0)]),
                t.ExpTransform().inv,
                t.SigmoidTransform(),
            ],
        ),
        "LogNormal": fd.LogNormal(loc, scale),
        "HalfNormal": fd.HalfNormal(scale),
        "Categorical": fd.Categorical(logits=loc),
        "Bernoulli": fd.Bernoulli(probs=np.array([0.25, 0.5])),
        "OneHot": fd.OneHotCategorical(probs=np.array([0.25, 0.75])),
        "LowRank": fd.LowRankMultivariateNormal(loc, np.ones((2, 1)), scale),
        "mixture": fd.MixtureSameFamily(fd.Categorical(logits=loc), normal),
    }


NAMES = list(laws())


# ---- save and load -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_what_is_loaded_is_what_was_saved(name, tmp_path):
    d = laws()[name]
    fd.save(tmp_path / "d.npz", d)
    again = fd.load(tmp_path / "d.npz")
    assert type(again) is type(d)
    assert repr(again) == repr(d)
    assert again.dtype == d.dtype
    assert_same_bits(again.sample((7,), rng=1), d.sample((7,), rng=1))
    x = d.sample((7,), rng=1)
    assert_same_bits(again.log_prob(x), d.log_prob(x))
    assert again.parameters.get("validate_args") == d.parameters.get("validate_args")
    assert os.listdir(tmp_path) == ["d.npz"]


class Mine(fd.Normal):
    pass


def test_types_of_ones_own_have_to_be_named(tmp_path):
    fd.save(tmp_path / "d.npz", fd.Independent(Mine([0.0, 1.0], 1.0), 1))
    with pytest.raises(ValueError, match="Mine is no distribution or transform of fastdist, nor among types"):
        fd.load(tmp_path / "d.npz")
    assert type(fd.load(tmp_path / "d.npz", types=[Mine]).base_dist) is Mine


def test_bad_files(tmp_path):
    good = tmp_path / "good.npz"
    fd.save(good, fd.Normal(0.0, 1.0))
    content = good.read_bytes()
    bad = tmp_path / "bad.npz"
    for data, message in (
        (content[:100], r"no whole \.npz file|bad\.npz"),
        (b"", r"no whole \.npz file"),
        (b"hello", r"no whole \.npz file"),
    ):
        bad.write_bytes(data)
        with pytest.raises(ValueError, match=message):
            fd.load(bad)
    np.savez(bad, loc=0.0, scale=1.0)
    with pytest.raises(ValueError, match=r"not written by fastdist\.save: it has no member 'fastdist'"):
        fd.load(bad)
    with bad.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"it is an \.npy file"):
        fd.load(bad)
    tree = {"version": 2, "distribution": {}}
    np.savez(bad, fastdist=np.array(json.dumps(tree)))
    with pytest.raises(ValueError, match=r"is of version 2; this is fastdist .*, which reads 1"):
        fd.load(bad)
    np.savez(bad, fastdist=np.array([object()], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"bad\.npz"):
        fd.load(bad)
    for name in ("vjp", "_bound", "Generator", "__doc__"):
        np.savez(bad, fastdist=np.array(json.dumps({"version": 1, "distribution": {"type": name}})))
        with pytest.raises(ValueError, match="no distribution or transform of fastdist"):
            fd.load(bad)
    with pytest.raises(TypeError, match="distribution must be a Distribution, got int"):
        fd.save(bad, 3)
    with pytest.raises(FileNotFoundError):
        fd.load(tmp_path / "none.npz")
    before = bad.read_bytes()
    with pytest.raises(TypeError, match="a parameter of type object cannot be saved"):
        fd.save(bad, Odd(object()))
    assert bad.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["bad.npz", "good.npz"]


class Odd(fd.Normal):
    def __init__(self, what):
        super().__init__(0.0, 1.0)
        self.what = what

    @property
    def parameters(self):
        return {"what": self.what}


# ---- sample ------------------------------------------------------------------------------------------


def test_sample_writes_the_draw(tmp_path):
    d = fd.MultivariateNormal(np.zeros((3, 2)), covariance_matrix=np.eye(2))
    fd.save(tmp_path / "d.npz", d)
    np.savez(tmp_path / "bare.npz", **{k: v for k, v in d.parameters.items() if k != "validate_args"})
    (tmp_path / "d.json").write_text(
        json.dumps(
            {
                "type": "MultivariateNormal",
                "loc": np.zeros((3, 2)).tolist(),
                "covariance_matrix": np.eye(2).tolist(),
            }
        )
    )
    for parameters in ("d.npz", "bare.npz", "d.json"):
        out = tmp_path / f"{parameters}.npy"
        result = run("sample", tmp_path / parameters, "--shape", "50,4", "--seed", "7", "--out", out)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
        assert_same_bits(np.load(out), d.sample((50, 4), rng=7))
    out = tmp_path / "one.npy"
    assert run("sample", tmp_path / "d.npz", "--seed=7", "--out", out).returncode == 0
    assert_same_bits(np.load(out), d.sample(rng=7))
    out = tmp_path / "f.npy"
    assert (
        run("sample", tmp_path / "d.npz", "--shape=9", "--seed=7", "--dtype=float32", "--out", out).returncode
        == 0
    )
    assert np.load(out).dtype == np.float32


@pytest.mark.parametrize("suffix", [".npy", ".zarr"])
@pytest.mark.parametrize("law", ["Normal", "Categorical"])
def test_an_interrupted_run_goes_on_to_the_same_bytes(suffix, law, tmp_path, monkeypatch):
    zarr = __import__("zarr") if suffix == ".zarr" else None
    monkeypatch.setattr(_streamed, "CHUNK", 4000)
    d = fd.Normal(np.zeros(10), 1.0) if law == "Normal" else fd.Categorical(logits=np.zeros((10, 3)))
    whole = d.sample((1000,), rng=3)
    for stop_after in (0, 1, 5):
        out = tmp_path / f"x{stop_after}{suffix}"
        make, calls = type(d).sample_part, []

        def fails(self, *args, make=make, calls=calls, stop_after=stop_after, **kwargs):
            calls.append(args)
            if len(calls) > stop_after:
                raise KeyboardInterrupt
            return make(self, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(type(d), "sample_part", fails)
            with pytest.raises(KeyboardInterrupt):
                _streamed.sample(d, (1000,), 3, out, quiet=True)
        assert not out.exists()
        part = out.with_name(out.name + ".part")
        assert part.exists()
        if suffix == ".npy" and stop_after == 5:
            with part.open("ab") as file:  # of a row that was not finished
                file.write(b"abc")
        assert _streamed.sample(d, (1000,), 3, out, quiet=True)
        found = np.load(out) if zarr is None else zarr.open_array(store=str(out), mode="r")[:]
        assert_same_bits(found, whole)
        assert not part.exists()
        stamp = out.stat().st_mtime_ns
        assert not _streamed.sample(d, (1000,), 3, out, quiet=True)  # touches nothing
        assert out.stat().st_mtime_ns == stamp


def test_a_killed_run_goes_on(tmp_path):
    d = fd.Normal(np.zeros(1000), 1.0)
    fd.save(tmp_path / "d.npz", d)
    out = tmp_path / "x.npy"
    arguments = ["sample", tmp_path / "d.npz", "--shape", 20000, "--seed", 1, "--out", out]
    process = subprocess.Popen([sys.executable, "-m", "fastdist", *map(str, arguments)])
    part = tmp_path / "x.npy.part"
    while process.poll() is None and not (part.exists() and part.stat().st_size > 20 << 20):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    x = np.load(out, mmap_mode="r")
    for rows in (slice(0, 3), slice(9990, 10010), slice(19990, 20000)):
        assert_same_bits(np.array(x[rows]), d.sample_part((20000,), rows, rng=1))
    result = run(*arguments)
    assert (result.returncode, result.stderr) == (0, f"{out} is complete\n")


def test_another_runs_file_is_an_error(tmp_path):
    fd.save(tmp_path / "d.npz", fd.Normal(np.zeros(3), 1.0))
    out = tmp_path / "x.npy"

    def sample(seed, shape, parameters="d.npz"):
        return run("sample", tmp_path / parameters, "--shape", shape, "--seed", seed, "--out", out)

    assert sample(1, 10).returncode == 0
    before = out.read_bytes()
    fd.save(tmp_path / "e.npz", fd.Normal(np.ones(3), 1.0))
    for arguments in ((2, 10), (1, 11), (1, 10, "e.npz")):
        for name in (out, tmp_path / "x.npy.part"):
            name.write_bytes(before)
            result = sample(*arguments)
            assert result.returncode == 1
            assert "is there and is not this run's" in result.stderr
            assert name.read_bytes() == before
            name.unlink()
    for content in (b"", b"junk", before[:-1]):
        out.write_bytes(content)
        assert sample(1, 10).returncode == 1
        assert out.read_bytes() == content


def test_a_full_disk_leaves_a_part_to_go_on_from(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_streamed, "CHUNK", 80)
    d, out = fd.Normal(np.zeros(10), 1.0), tmp_path / "x.npy"
    fd.save(tmp_path / "d.npz", d)
    write = _streamed._Npy.write

    def full(self, first, rows):
        if first == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, first, rows)

    arguments = ["sample", str(tmp_path / "d.npz"), "--shape", "9", "--seed", "1", "--out", str(out)]
    with monkeypatch.context() as patch:
        patch.setattr(_streamed._Npy, "write", full)
        with pytest.raises(SystemExit, match="No space left on device"):
            main(arguments)
    assert not out.exists()
    main([*arguments, "--quiet"])
    assert_same_bits(np.load(out), d.sample(9, rng=1))
    assert capsys.readouterr().out == ""


def test_log_prob_streams(tmp_path, monkeypatch):
    monkeypatch.setattr(_streamed, "CHUNK", 800)
    d = fd.Independent(fd.Normal(np.zeros((3, 2)), 1.0), 1)
    fd.save(tmp_path / "d.npz", d)
    for shape in ((500, 3, 2), (500, 1, 2)):
        x = np.random.default_rng(0).standard_normal(shape)
        np.save(tmp_path / "x.npy", x)
        out = tmp_path / f"lp{shape[1]}.npy"
        arguments = ["log-prob", str(tmp_path / "d.npz"), str(tmp_path / "x.npy"), "--out", str(out)]
        main(arguments)
        assert_same_bits(np.load(out), d.log_prob(x))
        main([*arguments, "--quiet"])
    np.save(tmp_path / "x.npy", x[..., 0])
    with pytest.raises(SystemExit, match=r"must end in the event shape \(2,\)"):
        main(["log-prob", str(tmp_path / "d.npz"), str(tmp_path / "x.npy"), "--out", str(tmp_path / "y.npy")])


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux tells the peak")
def test_memory_is_constant(tmp_path):
    fd.save(tmp_path / "d.npz", fd.Normal(np.zeros(1000), 1.0))
    # The peak that getrusage tells is the parent's, if that had more memory.
    script = (
        "import sys; from fastdist.__main__ import main; main(sys.argv[1:]); "
        "print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')])"
    )
    out = tmp_path / "x.npy"
    arguments = ["sample", tmp_path / "d.npz", "--shape", 40000, "--seed", 1, "--out", out]
    result = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    assert out.stat().st_size > 320e6
    assert int(result.stdout) < 100e3  # kB
    out.unlink()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"a": 1.0}, "has a, which does not tell the type of distribution"),
        ({"type": "Poisson", "rate": 1.0}, "Poisson is no distribution or transform of fastdist"),
        ({"type": "Normal", "rate": 1.0}, "Normal: "),
        ({"loc": 0.0, "scale": -1.0}, "scale must be positive"),
        ([1, 2], "must hold parameters by name"),
    ],
)
def test_bad_parameters(parameters, message, tmp_path):
    (tmp_path / "p.json").write_text(json.dumps(parameters))
    with pytest.raises(SystemExit, match=message):
        main(["sample", str(tmp_path / "p.json"), "--seed", "1", "--out", str(tmp_path / "x.npy")])
    assert os.listdir(tmp_path) == ["p.json"]


def test_bad_arguments(tmp_path):
    (tmp_path / "p.json").write_text('{"loc": 0, "scale": 1}')
    parameters = tmp_path / "p.json"
    for arguments, message in (
        (["sample", parameters, "--seed", "1", "--out", tmp_path / "x.csv"], "out must end in .npy or .zarr"),
        (["sample", tmp_path / "no.npz", "--seed", "1", "--out", tmp_path / "x.npy"], "No such file"),
        (["sample", parameters, "--seed", "-1", "--out", tmp_path / "x.npy"], "must be an integer >= 0"),
        (["sample", parameters, "--shape", "3,a", "--seed", "1", "--out", "x.npy"], "must be integers >= 0"),
        (["sample", parameters, "--seed", "1"], "--out"),
    ):
        result = run(*arguments)
        assert result.returncode in (1, 2)
        assert message in result.stderr
        assert "Traceback" not in result.stderr
        assert result.stdout == ""


@pytest.mark.parametrize("text", ["{", "[1]", '{"version": 1}', '{"distribution": {"type": "Normal"}}'])
def test_a_member_that_save_does_not_write(tmp_path, text):
    np.savez(tmp_path / "d.npz", fastdist=np.array(text))
    with pytest.raises(ValueError, match=r"was not written by fastdist\.save: "):
        fd.load(tmp_path / "d.npz")
