"""HTML that can't forget to escape: only what `tag` and `joined` made is taken for HTML."""

from html import escape

VOID = frozenset({"br", "hr", "input", "meta"})


class Html(str):
    """Goes out as it is. Every other text is escaped on its way in."""

    __slots__ = ()


def joined(*parts: str | None) -> Html:
    """One after the other; None is left out."""
    return Html(
        "".join(
            part if isinstance(part, Html) else escape(part) for part in parts if part is not None
        )
    )


def tag(kind: str, *content: str | None, **attributes: str | int | bool | None) -> Html:
    """An element. In the names of attributes `_` stands for `-`, and a last one for nothing.

    An attribute that is None or False is left out; True has no value.
    """
    written = "".join(
        f" {_name(name)}" if value is True else f' {_name(name)}="{escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    end = "" if kind in VOID else f"</{kind}>"
    return Html(f"<{kind}{written}>{joined(*content)}{end}")


def _name(name: str) -> str:
    return name.removesuffix("_").replace("_", "-")
