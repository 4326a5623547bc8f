"""Cuts a virtual environment down to what serving uses. `deploy/Dockerfile` runs it when the image is built.

    python trim.py /opt/exportweb

A pattern that no longer fits anything does no harm, and one that fits too much fails the build: the Dockerfile imports the whole server
after the cut, and `.ci/container` has the finished image answer for every image format. Licences are never cut.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

PATTERNS = (
    # For people, type checkers and compilers.
    "**/tests",
    "**/*.pyi",
    "**/*.pxd",
    "**/*.pyx",
    "numpy/_core/include",
    "numpy/_core/lib",
    "numpy/distutils",
    "numpy/f2py",
    # What no answer is computed with.
    "numpy/fft",
    "numpy/polynomial",
    "numpy/random",
    # Tools that write or change models; a server only runs them.
    "onnxruntime/datasets",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    # For programs in C; Python's own module contains the runtime already.
    "onnxruntime/capi/libonnxruntime.so*",
    # AVIF is not served; nothing here writes text, manages colours or draws windows.
    "PIL/_avif.*",
    "PIL/_imagingcms.*",
    "PIL/_imagingft.*",
    "PIL/_imagingtk.*",
)
SYMBOLS = (  # most of these files is for debuggers; other wheels come without that, or have patched files, which `strip` may break
    "uvloop/*.so",
    "httptools/parser/*.so",
)
LIBRARIES = "*.libs"  # a folder of shared libraries that a wheel brings for its modules


def main(venv: Path) -> None:
    """Cut first the patterns, then the libraries that only they needed, then symbols; needs `strip`, of binutils."""
    (packages,) = venv.glob("lib/python3*/site-packages")
    for pattern in PATTERNS:
        for path in list(packages.glob(pattern)):
            remove(path)
    for path in orphans(packages):
        remove(path)
    for pattern in SYMBOLS:
        subprocess.run(["strip", "--strip-unneeded", *packages.glob(pattern)], check=True)


def orphans(packages: Path) -> list[Path]:
    """Return the shared libraries of wheels that no module which is left asks for, itself or through another library."""
    binaries = {path: path.read_bytes() for path in packages.rglob("*.so*") if path.is_file()}
    unasked = {path for path in binaries if path.parent.match(LIBRARIES)}
    asking = [path for path in binaries if path not in unasked]
    while asking:
        data = binaries[asking.pop()]
        asked = {path for path in unasked if path.name.encode() in data}
        unasked -= asked
        asking += asked
    return sorted(unasked)


def remove(path: Path) -> None:
    """Remove a file or a folder, whichever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
