"""A Python with the newest PyTorch."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

from comparison.runner import say

FACTS = """
import json, torch
try:
    import torchvision
    vision = torchvision.__version__
except ImportError:
    vision = None
print(json.dumps({"torch": torch.__version__, "torchvision": vision, "cuda": torch.version.cuda,
                  "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
                  "built_with": torch.__config__.show()}))
"""


class NoPeers(Exception):
    """There is no PyTorch; the text says what is needed."""


def has_torch(python):
    return subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode == 0


def given(python):
    """The Python named on the command line."""
    found = shutil.which(python)
    if not found:
        raise NoPeers(f"--python: there is no program '{python}'")
    if not has_torch(found):
        raise NoPeers(f"--python: '{python}' has no torch: a Python in which `import torch` works is needed")
    return Path(found)


def made(folder):
    """Python of a virtual environment in `folder`, which is made where it is not there; needs an index of packages."""
    python = folder / "bin" / "python"
    if python.exists() and has_torch(python):
        return python
    say(f"making {folder} with the newest torch and torchvision of the package index (gigabytes; minutes)")
    needed = "; name a Python that has torch with --python, or leave peers out with --peers none"
    try:
        venv.create(folder, with_pip=True, clear=folder.exists())
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoPeers(f"no virtual environment can be made in {folder} (Debian's package python3-venv is needed): "
                      f"{error}{needed}") from error
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", "torch", "torchvision", "numpy"]
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0 or not has_torch(python):
        raise NoPeers(f"pip could not install torch in {folder}: it needs a package index that can be reached "
                      f"(PIP_INDEX_URL names another){needed}")
    return python
