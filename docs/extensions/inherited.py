"""Names in docstrings that a class has from `Distribution` lead to the page of that."""

from __future__ import annotations

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.TextElement
) -> nodes.reference | None:
    """Of what Sphinx did not find."""
    target = node["reftarget"]
    if node.get("refdomain") != "py" or "." in target:
        return None
    domain = env.domains.python_domain
    return domain.resolve_xref(
        env, node["refdoc"], app.builder, "obj", f"fastdist.Distribution.{target}", node, shown
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls it."""
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
