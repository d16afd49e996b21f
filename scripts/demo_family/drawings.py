"""Products that the emoji sets lack, drawn here as SVG in the three styles: milk carton, jam, jam on bread, pot."""

from collections.abc import Callable
from functools import partial

from . import packs
from .paint import Paint, path

Drawing = Callable[[Paint], str]


def makes(name: str) -> int:
    """How many makes of the thing `name` there are."""
    return len(DRAWINGS[name])


def svg(name: str, style: str, make: int = 0) -> str:
    """A make of the thing `name` as SVG text; `style` is "3d" (shaded), "flat" (plain) or "noto" (outlined)."""
    paint = Paint(style)
    shapes = DRAWINGS[name][make](paint)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 256 256">'
        f"<defs>{''.join(paint.gradients)}</defs>{shapes}</svg>"
    )


def milk_carton(p: Paint) -> str:
    """A gable-top carton: white body, blue band with a drop, a folded roof."""
    white, side = p.fill("#ffffff", "#eef3fa", "#c9d6e8"), p.fill("#d5e0ee", "#c8d5e6", "#9fb1ca")
    blue, deep = p.fill("#5cb0ff", "#2f86e8", "#1c5fc0"), p.fill("#2f74cc", "#2566b8", "#174a92")
    return (
        path("M60 100 L150 100 L150 240 L60 240 Z", white)
        + path("M150 100 L200 86 L200 222 L150 240 Z", side)
        + path("M60 100 L82 50 L172 50 L150 100 Z", blue)
        + path("M150 100 L172 50 L200 86 Z", deep)
        + path("M82 50 L82 22 L172 22 L172 50 Z", white)
        + path("M60 176 L150 176 L150 216 L60 216 Z", blue)
        + path("M150 176 L200 160 L200 199 L150 216 Z", deep)
        + path("M105 116 C 90 138 84 148 105 160 C 126 148 120 138 105 116 Z", blue)
        + p.shine('<rect x="68" y="106" width="8" height="64" rx="4" fill="#fff" opacity=".8"/>')
    )


def jam_jar(p: Paint) -> str:
    """A jar of red jam with a label and a checked lid."""
    jam, glass = p.fill("#f0455c", "#c81e3a", "#7d0c22"), p.fill("#ffffff", "#f3d9dd", "#d9a9b1")
    lid, label = p.fill("#ffffff", "#f4f0ea", "#c9c0b4"), p.fill("#fffaf0", "#fff1d6", "#e5cfa5")
    red = p.fill("#ff6b6b", "#e03a3a", "#a61f1f")
    checks = "".join(f'<rect x="{x}" y="24" width="18" height="34" {red}/>' for x in (76, 112, 148))
    return (
        f'<rect x="52" y="64" width="152" height="178" rx="30" {glass}/>'
        f'<rect x="60" y="80" width="136" height="154" rx="24" {jam}/>'
        f'<rect x="58" y="20" width="140" height="42" rx="10" {lid}/>'
        + checks
        + f'<rect x="72" y="116" width="112" height="82" rx="10" {label}/>'
        + f'<circle cx="128" cy="160" r="22" {red}/>'
        + path("M110 142 L128 128 L146 142 L128 150 Z", p.fill("#7ed957", "#4caf50", "#2e7d32"))
        + p.shine('<rect x="68" y="84" width="10" height="120" rx="5" fill="#fff" opacity=".55"/>')
    )


def jam_toast(p: Paint) -> str:
    """A slice of bread spread with red jam."""
    crust, crumb = p.fill("#d9964f", "#c07a35", "#8a5220"), p.fill("#fff0cf", "#f7dfae", "#e5c181")
    jam = p.fill("#ff4d63", "#d2203e", "#95112b")
    return (
        path(
            "M40 90 C 10 40 70 26 128 28 C 186 26 246 40 216 90 L216 222 Q216 236 202 236 L54 236 Q40 236 40 222 Z",
            crust,
        )
        + path("M56 92 C 34 56 80 44 128 44 C 176 44 222 56 200 92 L200 220 L56 220 Z", crumb)
        + path(
            "M74 96 C 60 66 110 62 130 66 C 190 58 196 84 182 110 C 176 130 192 160 178 186 C 160 210 130 190 108 200 "
            "C 70 208 66 170 76 148 C 84 128 68 118 74 96 Z",
            jam,
        )
        + p.shine('<ellipse cx="106" cy="96" rx="20" ry="9" fill="#fff" opacity=".6"/>')
        + p.shine('<ellipse cx="150" cy="150" rx="12" ry="6" fill="#fff" opacity=".45"/>')
    )


def cooking_pot(p: Paint) -> str:
    """A steel pot with two handles and a lid."""
    steel, rim = p.fill("#ffffff", "#c3ccd6", "#76828f"), p.fill("#e6ebf0", "#9aa6b2", "#5c6772")
    dark = p.fill("#5a6169", "#3d434a", "#23272b")
    return (
        f'<rect x="8" y="128" width="44" height="22" rx="11" {dark}/>'
        f'<rect x="204" y="128" width="44" height="22" rx="11" {dark}/>'
        + path("M44 112 L212 112 L212 204 Q212 232 184 232 L72 232 Q44 232 44 204 Z", steel)
        + f'<rect x="36" y="100" width="184" height="18" rx="9" {rim}/>'
        + path("M48 100 C 60 62 196 62 208 100 Z", steel)
        + f'<rect x="110" y="44" width="36" height="28" rx="12" {dark}/>'
        + p.shine('<rect x="62" y="124" width="14" height="92" rx="7" fill="#fff" opacity=".7"/>')
    )


DRAWINGS: dict[str, tuple[Drawing, ...]] = {
    "milk-carton": (milk_carton, *(partial(packs.carton, make=make) for make in range(packs.MAKES))),
    "jam-jar": (jam_jar, *(partial(packs.jar, make=make) for make in range(packs.MAKES))),
    "jam-toast": (jam_toast,),
    "cooking-pot": (cooking_pot,),
}
