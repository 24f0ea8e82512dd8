#!/usr/bin/env python3
"""Print the oldest versions that pyproject.toml allows, as constraints for pip and uv.

A bound with two components stands for the newest patch release: "2.17" means 2.17.1.
"""

import re
from pathlib import Path

import tomllib

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
optional = project["optional-dependencies"]
for requirement in [*project["dependencies"], *optional["tensorflow"], *optional["jax"]]:
    name, version = re.fullmatch(r"([\w-]+) *>= *([\d.]+)", requirement).groups()
    print(f"{name} == {version}" + ("" if version.count(".") > 1 else ".*"))
