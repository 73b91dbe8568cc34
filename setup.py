"""Builds the compiled renderer with the package; all else about the package is in pyproject.toml.

The libraries are plain C ones, so one wheel serves every version of Python and torch on a platform.
"""

import importlib.util
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

# By path: the package's own dependencies are not there while it is built.
spec = importlib.util.spec_from_file_location(
    "build_renderer", Path("inverters/rendering/build.py").resolve()
)
renderer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(renderer)


class BuildRenderer(build_ext):
    """Each "extension" is one of the renderer's libraries; without its compiler there is none."""

    def build_extension(self, ext):
        device = ext.name.rpartition("_")[2]
        try:
            renderer.build(device, Path(self.get_ext_fullpath(ext.name)))
        except renderer.BuildError as error:
            raise CompileError(f"the {device} renderer was not built: {error}") from error

    def get_ext_filename(self, fullname):
        return str(Path(*fullname.split("."))) + ".so"


class AnyPython(bdist_wheel):
    """A wheel for this platform and every Python."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[
        Extension(f"inverters.rendering.libinvid_{device}", [], optional=True)
        for device in ("cpu", "cuda")
        if renderer.compiler(device)
    ],
    cmdclass={"build_ext": BuildRenderer, "bdist_wheel": AnyPython},
)
