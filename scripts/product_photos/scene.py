"""A small sphere tracer (Hart 1996): shapes as signed distances, one sun, soft shadows, ambient occlusion.

Points are (N,3) float arrays, y up; the product stands on the plane y = 0 and looks along +z.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Distance = Callable[[Points], Points]
Colour = Callable[[Points, Points], Points]

SUN = np.array([-0.45, 0.8, 0.55]) / np.linalg.norm([-0.45, 0.8, 0.55])
FAR = 14.0
STEPS = 90
NEAR = 6e-4


@dataclass(frozen=True)
class Shape:
    """distance: (N,3) -> (N,). colour: points and normals -> (N,3) in [0,1]. gloss: strength of the sun's highlight."""

    distance: Distance
    colour: Colour
    gloss: float


@dataclass(frozen=True)
class View:
    """The camera. yaw, pitch: degrees around and down. shift: how far the product is off the centre."""

    yaw: float
    pitch: float
    distance: float
    shift: float = 0.0


@dataclass(frozen=True)
class Room:
    """floor, wall: RGB in [0,1]; planks: whether the floor is made of boards."""

    floor: tuple[float, float, float]
    wall: tuple[float, float, float]
    planks: bool = False


def picture(shape: Shape, view: View, room: Room, side: int) -> NDArray[np.uint8]:
    """Return the shape in the room, (side,side,3), averaged from twice as many rays in each direction."""
    rays = 2 * side
    eye, directions = _camera(view, rays)
    points, hit = _march(shape.distance, np.repeat(eye[None], rays * rays, 0), directions)
    colours = _background(shape, eye, directions, room)
    colours[hit] = _shade(shape, points[hit], directions[hit])
    image = colours.reshape(side, 2, side, 2, 3).mean((1, 3))
    return (np.clip(image, 0, 1) ** (1 / 2.2) * 255).round().astype(np.uint8)


def _camera(view: View, rays: int) -> tuple[Points, Points]:
    yaw, pitch = np.radians([view.yaw, view.pitch])
    backward = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    right = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])
    up = np.cross(backward, right)
    target = np.array([0.0, 0.72, 0.0]) + right * view.shift
    grid = (np.arange(rays) + 0.5) / rays * 2 - 1
    across, down = np.meshgrid(grid, -grid)
    directions = across.reshape(-1, 1) * right * 0.215 + down.reshape(-1, 1) * up * 0.215 - backward
    return target + backward * view.distance, directions / np.linalg.norm(directions, axis=1, keepdims=True)


def _march(distance: Distance, starts: Points, directions: Points) -> tuple[Points, NDArray[np.bool_]]:
    """March every ray towards the surface; return the end points (N,3) and whether each is on the surface (N,)."""
    travelled = np.zeros(len(starts))
    hit = np.zeros(len(starts), bool)
    active = np.arange(len(starts))
    for _ in range(STEPS):
        away = distance(starts[active] + directions[active] * travelled[active, None])
        hit[active[away < NEAR]] = True
        travelled[active] += away
        active = active[(away >= NEAR) & (travelled[active] < FAR)]
        if not len(active):
            break
    return starts + directions * travelled[:, None], hit


def _normals(distance: Distance, points: Points) -> Points:
    offsets = np.eye(3) * 1e-3
    slopes = np.stack([distance(points + offset) - distance(points - offset) for offset in offsets], 1)
    return slopes / np.linalg.norm(slopes, axis=1, keepdims=True)


def _shade(shape: Shape, points: Points, directions: Points) -> Points:
    """Return linear light: wrapped diffuse light of sun and sky, occlusion near the floor, a highlight, a soft rim."""
    normals = _normals(shape.distance, points)
    colour = shape.colour(points, normals) ** 2.2
    sun = np.clip(normals @ SUN * 0.75 + 0.25, 0, 1)
    sky = 0.55 + 0.45 * normals[:, 1]
    open_air = np.clip(0.45 + points[:, 1] * 1.6, 0, 1)
    halfway = SUN - directions
    halfway /= np.linalg.norm(halfway, axis=1, keepdims=True)
    highlight = np.clip((normals * halfway).sum(1), 0, 1) ** 60 * shape.gloss
    rim = (1 - np.clip(-(normals * directions).sum(1), 0, 1)) ** 3 * 0.12
    light = 0.85 * sun + 0.42 * sky * open_air
    return colour * light[:, None] + (highlight + rim)[:, None]


def _background(shape: Shape, eye: Points, directions: Points, room: Room) -> Points:
    """Return the colours of a floor with the product's shadow that fades into a wall."""
    down = np.minimum(directions[:, 1], -1e-4)
    floor = eye + directions * (-eye[1] / down)[:, None]
    depth = np.linalg.norm(floor - eye, axis=1)
    fade = np.clip((depth - 5.5) / 4.0, 0, 1)[:, None]
    colour = np.array(room.floor) ** 2.2 * np.ones_like(floor)
    if room.planks:
        board = np.floor(floor[:, 2] / 0.42)
        grain = 0.06 * np.sin(floor[:, 0] * 9 + board * 5 + 2 * np.sin(floor[:, 0] * 2.3 + board))
        seam = np.abs(floor[:, 2] / 0.42 - board - 0.5) > 0.47
        colour *= (0.92 + 0.12 * np.sin(board * 12.9) + grain - 0.3 * seam)[:, None]
    near = depth < 9
    shade = np.ones(len(floor))
    shade[near] = _shadow(shape.distance, floor[near])
    wall = np.array(room.wall) ** 2.2 * (1.02 - 0.18 * directions[:, 1:2])
    return colour * shade[:, None] * (1 - fade) + wall * fade


def _shadow(distance: Distance, points: Points) -> Points:
    """Return the share of sun that reaches the floor: the nearest miss towards the sun, per distance (Quilez 2010)."""
    lightness, travelled = np.ones(len(points)), np.full(len(points), 0.02)
    for _ in range(28):
        away = distance(points + SUN * travelled[:, None])
        lightness = np.minimum(lightness, 7 * away / travelled)
        travelled += np.clip(away, 0.02, 0.3)
    contact = np.clip(distance(points) / 0.5, 0, 1)
    return (0.42 + 0.58 * np.clip(lightness, 0, 1)) * (0.72 + 0.28 * contact)
