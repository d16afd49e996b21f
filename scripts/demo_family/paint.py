"""How our own drawings are coloured: shaded, plain or outlined, as the emoji sets are."""

STYLES = ("3d", "flat", "noto")
OUTLINE = 'stroke="#5b3a29" stroke-width="4" stroke-linejoin="round"'


class Paint:
    """Turns a colour into a fill: a gradient from light to dark in "3d", the plain colour otherwise."""

    def __init__(self, style: str) -> None:
        self.style = style
        self.gradients: list[str] = []

    def fill(self, light: str, base: str, dark: str) -> str:
        """Attributes for a shape of this colour, lit from the left."""
        if self.style == "flat":
            return f'fill="{base}"'
        if self.style == "noto":
            return f'fill="{base}" {OUTLINE}'
        name = f"g{len(self.gradients)}"
        self.gradients.append(
            f'<linearGradient id="{name}"><stop offset="0" stop-color="{base}"/>'
            f'<stop offset=".3" stop-color="{light}"/><stop offset="1" stop-color="{dark}"/></linearGradient>'
        )
        return f'fill="url(#{name})"'

    def tone(self, colour: str, light: float = 1.0) -> str:
        """The same from one colour (#rrggbb), made lighter or darker by the factor `light`."""
        return self.fill(_mixed(colour, light * 1.15), _mixed(colour, light), _mixed(colour, light * 0.72))

    def shine(self, shape: str) -> str:
        """A highlight that only the shaded style shows."""
        return shape if self.style == "3d" else ""


def path(d: str, attributes: str) -> str:
    """A filled outline."""
    return f'<path d="{d}" {attributes}/>'


def _mixed(colour: str, light: float) -> str:
    """Darker: towards black by the factor; lighter: towards white by as much above one."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    mixed = [part * light if light <= 1 else part + (255 - part) * min(1.0, light - 1) for part in parts]
    return "#" + "".join(f"{round(part):02x}" for part in mixed)
