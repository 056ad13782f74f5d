"""Importing MXNet on a Python and a NumPy that it was not made for."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from gluon_vae.compatibility import DROPPED


def run(code, *options):
    """Run code in a process of its own; return what it printed, on both streams."""
    command = [sys.executable, *options, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_import_gives_numpy_back_as_it_was_but_for_bool():
    printed = run("""
        from types import ModuleType
        import numpy
        def names():
            return {name for name, value in vars(numpy).items() if not isinstance(value, ModuleType)}
        before = names()
        import gluon_vae, mxnet
        print(*(names() - before), *(before - names()))
    """)
    assert printed.split() == (
        [] if "bool" in dir(np) and np.lib.NumpyVersion(np.__version__) >= "2.0.0" else ["bool"]
    )


def test_import_leaves_no_stand_in_and_gives_back_what_was_there():
    run("""
        import sys, gluon_vae
        assert not [name for name in sys.modules if name.startswith("distutils")]
        assert not {"sklearn", "pandas", "scipy.stats", "onnx"} & set(sys.modules)  # which take their time
        from mxnet import test_utils
        from mxnet.contrib import quantization
        assert quantization.stats.entropy([1]) == 0 and test_utils.ss.norm.cdf(0) == 0.5
        import scipy.stats
        assert scipy.stats.norm and "sklearn" not in sys.modules
    """)
    run("""
        import sys, types
        mine = {name: types.ModuleType(name) for name in ("distutils", "sklearn")}
        sys.modules.update(mine)
        import gluon_vae
        assert all(sys.modules[name] is module for name, module in mine.items())
        assert "distutils.version" not in sys.modules
    """)


def test_import_is_quiet_even_where_warnings_are_errors():
    assert run("import gluon_vae, mxnet", "-W", "error") == ""


def test_names_are_taken_away_again_where_the_import_fails():
    run("""
        import sys
        import numpy
        class Broken:
            def find_spec(self, name, path=None, target=None):
                if name == "mxnet.ndarray":
                    raise RuntimeError("broken")
        sys.meta_path.insert(0, Broken())
        try:
            import gluon_vae
        except RuntimeError:
            assert "product" not in vars(numpy) or numpy.__version__ < "2"
            assert "pmt" not in vars(numpy) and "distutils" not in sys.modules
        else:
            raise AssertionError("nothing was raised")
    """)


def test_package_imports_after_mxnet_failed_by_itself():
    printed = run("""
        try:
            import mxnet
        except Exception as error:
            print(type(error).__name__)
        import gluon_vae
        import mxnet
        print(gluon_vae.VAE(n_output=4).n_latent, mxnet.np.sum(mxnet.np.ones(3)), mxnet.nd.ones(3).sum().asscalar())
    """)
    assert "2 3.0 3.0" in printed.splitlines()  # after what NumPy warns of the first attempt


@pytest.mark.parametrize(
    ("error", "sentences"),
    [
        ("ModuleNotFoundError('No module', name='mxnet')", ["not installed", "install_mxnet.py"]),
        ("OSError('libgomp.so.1: cannot open')", ["libgomp.so.1"]),
    ],
)
def test_what_to_do_is_said_where_mxnet_is_missing_or_does_not_load(error, sentences):
    printed = run(f"""
        import sys
        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name == "mxnet":
                    raise {error}
        sys.meta_path.insert(0, Missing())
        try:
            import gluon_vae
        except ImportError as error:
            print(type(error).__name__, error)
    """)
    assert printed.startswith("ImportError MXNet")
    for sentence in sentences:
        assert sentence in printed


def test_a_module_that_mxnet_itself_lacks_is_named_as_it_is():
    printed = run("""
        import sys
        sys.modules["graphviz"] = None
        sys.modules["requests"] = None
        try:
            import gluon_vae
        except ImportError as error:
            print(error.name)
    """)
    assert printed.strip() in {"requests", "graphviz"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alltrue", False),
        ("msort", [[2, 0], [3, 1]]),
        ("product", 0),
        ("round_", [[3, 1], [2, 0]]),
        ("sometrue", True),
        ("trapz", [2, 1]),
    ],
)
def test_what_mxnet_exports_again_still_computes(name, expected):
    if name == "trapz" and "trapezoid" not in vars(np):
        pytest.skip("NumPy has its own trapz")
    assert np.array_equal(DROPPED[name](np.array([[3.0, 1.0], [2.0, 0.0]])), expected)
    assert np.array_equal(DROPPED["in1d"](np.array([[3, 1], [2, 0]]), [1, 2]), [False, True, True, False])
