"""The supported versions in pyproject.toml are repeated correctly everywhere else."""

import re
from pathlib import Path

import tomllib

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def bounds(requirements):
    return {re.sub(r"\s", "", requirement) for requirement in requirements}


def test_r_requires_the_versions_in_pyproject():
    code = (ROOT / "R/use-backend.R").read_text(encoding="utf-8")
    asked = {
        vector: re.search(rf"^{vector} <- c\((.*)\)$", code, re.M)[1]
        for vector in ("core_packages", "backend_packages")
    }
    optional = PROJECT["optional-dependencies"]
    assert set(re.findall('"(.*?)"', asked["core_packages"])) == bounds(PROJECT["dependencies"])
    backends = dict(re.findall(r'(\w+) = "(.*?)"', asked["backend_packages"]))
    assert backends == {name: bounds(optional[name]).pop() for name in ("tensorflow", "jax", "torch")}
    python = PROJECT["requires-python"]
    assert f'python_version = "{python}"' in code


def test_description_names_the_versions_in_pyproject():
    text = (ROOT / "DESCRIPTION").read_text(encoding="utf-8")
    needs = re.search(r"^SystemRequirements:((?:.*\n)(?:\s+.*\n)*)", text, re.M)[1]
    wanted = dict(re.findall(r"([\w-]+) *\((>= *[\d.]+)\)", needs))
    for requirement in [f"Python {PROJECT['requires-python']}", *PROJECT["dependencies"]]:
        name, version = re.fullmatch(r"([\w-]+) *>= *([\d.]+)", requirement).groups()
        assert wanted[name] == f">= {version}"
