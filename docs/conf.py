"""How Sphinx builds the site: ``tox run -e docs``, in which warnings are errors."""

import ast
import os
from importlib import import_module
from pathlib import Path

import forgetless

os.environ.setdefault("OMP_NUM_THREADS", "1")

HERE = Path(__file__).parent
PACKAGE = Path(forgetless.__file__).parent

project = "forgetless"
author = "The forgetless developers"
copyright = "The forgetless developers"
version = release = forgetless.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinx-mathjax-offline",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
suppress_warnings = ["config.cache"]  # the order of the gallery is a function, which cannot be pickled

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 4
myst_url_schemes = ["http", "https", "mailto"]

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections have them
autodoc_member_order = "bysource"
add_module_names = False
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
# All checks but those of sections and sentences that would say nothing: an input ``X`` without a description,
# "Returns: None", a See Also or an example for every property, first lines and descriptions that begin with a symbol.
numpydoc_validation_checks = {
    "all",
    *(
        "ES01",
        "EX01",
        "GL01",
        "GL02",
        "PR03",
        "PR04",
        "PR07",
        "PR08",
        "PR09",
        "RT01",
        "RT02",
        "RT03",
        "RT04",
        "RT05",
    ),
    *("SA01", "SA04", "SS02", "SS03", "SS05", "SS06", "YD01"),
}

# Methods that only a new strategy calls say in one line what they take; what a call has stands under Attributes.
numpydoc_validation_overrides = {"PR01": [r"\A[^\n]+\Z", r"\n *Attributes\n"]}
# Nets have skorch's parameters, too; protocols are not called; the docstring of a type stands below it, where only
# Sphinx reads it.
numpydoc_validation_exclude = {
    r"\.Continual(Regression)?Net$",
    r"\.Objective$",
    r"\.ResultTables$",
    r"\.Descend$",
}

html_theme = "pydata_sphinx_theme"
html_title = "forgetless"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
}

EXAMPLES = [
    *("first_look", "scenarios", "own_csv", "sensors", "electricity", "recommendation", "no_borders", "own_method"),
    *("strength", "plasticity", "forest", "update_in_use", "unlearning", "five_sites", "several_machines"),
    "transformer",
]


class InOrder:
    """The order of the gallery: as above, then what is new, by name."""

    def __init__(self, folder):
        pass

    def __call__(self, name):
        stem = name.removeprefix("plot_").removesuffix(".py")
        return (EXAMPLES.index(stem) if stem in EXAMPLES else len(EXAMPLES), stem)


sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"\.py$",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "matplotlib_animations": False,
    "within_subsection_order": InOrder,
    "abort_on_example_error": False,
    "only_warn_on_example_error": False,
    "capture_repr": ("_repr_html_", "__repr__"),
    "image_scrapers": ("matplotlib",),
}

# --- the pages of the API: every public name, under the module that has it ------------------------------------------

PARTS = {
    "estimators": "Strategies, networks and pipelines",
    "datasets": "Data and streams",
    "benchmarks": "Benchmarks",
    "reports": "Reports",
}


def sections(part: str) -> dict[str, dict[str, str]]:
    """Where each public name of a part is defined, by the folder or file that has it."""
    found: dict[str, dict[str, str]] = {}
    for line in ast.parse((PACKAGE / part / "__init__.pyi").read_text("utf-8")).body:
        if isinstance(line, ast.ImportFrom) and line.module:
            for alias in line.names:
                found.setdefault(line.module.split(".")[0], {})[alias.name] = line.module
    return found


def page(part: str) -> str:
    """One part of the API, in reStructuredText: a table for each of its modules."""
    package = f"forgetless.{part}"
    lines = [f"``{package}``", "=" * (len(package) + 4), "", PARTS[part] + ".", ""]
    for module, names in sections(part).items():
        about = (import_module(f"{package}.{module}").__doc__ or "").split("\n\n")[0].replace("\n", " ")
        title = module.replace("_", " ").capitalize()
        lines += [title, "-" * len(title), "", about, ""]
        lines += [".. autosummary::", "   :toctree: generated", "   :nosignatures:", ""]
        for name, where in sorted(names.items()):
            # What is neither class nor function has its docstring where it is defined, and only there.
            told_here = callable(getattr(import_module(package), name)) and name != "Descend"
            lines.append(f"   ~{package}.{name}" if told_here else f"   ~{package}.{where}.{name}")
        lines.append("")
    return "\n".join(lines)


for part in PARTS:
    target = HERE / "api" / f"{part}.rst"
    text = page(part)
    if not target.exists() or target.read_text("utf-8") != text:
        target.write_text(text, "utf-8")


def skip(app, what, name, thing, skipped, options):
    """Leave out what scikit-learn writes into each class: ``set_partial_fit_request`` and its like."""
    return skipped or (name.startswith("set_") and name.endswith("_request")) or None


def setup(app):
    """Connect what is above with Sphinx."""
    app.connect("autodoc-skip-member", skip)
