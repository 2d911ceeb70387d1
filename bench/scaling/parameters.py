"""The functions' environment variables that take their value from a parameter of the template."""

from collections.abc import Mapping
from typing import Any


def parameter_variables(template: Mapping[str, Any]) -> dict[str, str]:
    """Return each variable with its parameter's default. Leave out parameters without one."""
    parameters, resources = template["Parameters"], template["Resources"].values()
    functions = [template["Globals"]["Function"], *(resource.get("Properties", {}) for resource in resources)]
    return {
        name: str(parameters[value["Ref"]]["Default"])
        for function in functions
        for name, value in function.get("Environment", {}).get("Variables", {}).items()
        if isinstance(value, Mapping) and "Default" in parameters.get(value.get("Ref"), {})
    }
