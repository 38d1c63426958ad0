"""Two players of x·y go round in growing circles (figure 3; Salimans et al. 2016, section 3.3).

One player moves x to lower f(x, y) = x·y, the other moves y to lower -x·y. The only equilibrium is
(0, 0). When both take gradient steps of rate η at once,

    x ← x - η y,    y ← y + η x,

the distance from it grows by √(1 + η²) in every step, whatever η: the rate only says how fast.
The value of the rate in the post's figure is lost in the copy that this follows; here η = 0.1.

What helps, each on the same game from the same place:

- alternating steps (y answers x's new place): the map keeps x² + y² - η x y, so that the players
  circle for ever on an ellipse whose axes are as √((1 + η/2) / (1 - η/2)), and neither leave nor
  arrive;
- extragradient (Korpelevich 1976), the gradient of where a plain step would lead: the distance
  changes by √(1 - η² + η⁴) a step, and falls;
- historical averaging (Salimans et al. 2016, section 3.3), c |θ - mean of its past|² in each
  player's cost: with the mean at rest the distance changes by √((1 - 2cη)² + η²) a step, which is
  below 1 where c > η/4 or so, and above it for a weaker pull. What is left is the way of the mean
  itself, and the players come to the equilibrium as t^(-1/(1 + 4c²)): a pull that is too strong
  holds them at their past. The weight c is in neither source. Here c = 0.1 arrives, and c = η/10
  does not.

Section 3.3 promises more: that historical averaging finds the equilibrium of games in which
gradient descent goes into extended orbits, as in min over x, max over y of (f(x) - 1)(y - 1) with
f(x) = x below 0 and x² above. The equilibrium is (1, 1). The third panel tries that from (-1, 0),
with η = 0.01 (at 0.1 the plain steps leave every bound).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from studies import drawing
from studies.study import Conditions, Finding, Number, Study

STUDY = Study(
    title="Descent and ascent at once spiral outwards",
    source="Weng 2017, figure 3; Salimans et al. 2016, section 3.3",
    claim="On x·y simultaneous gradient steps leave the equilibrium by √(1 + η²) a step; "
    "historical averaging and extragradient steps come to it.",
    seconds=(1, 1),
)

Floats = NDArray[np.float64]
Field = Callable[[Floats], Floats]
"""From a place [2] to each player's own gradient there, [2]."""
Step = Callable[[Floats, Floats], Floats]
"""From a place and the mean of its past to the next place."""

RATE, CURVED_RATE = 0.1, 0.01
PULL, WEAK_PULL = 0.1, RATE / 10.0


def product_game(place: Floats) -> Floats:
    """The gradients of x·y by x and of -x·y by y."""
    x, y = place
    return np.array([y, -x])


def curved_game(place: Floats) -> Floats:
    """The gradients of (f(x) - 1)(y - 1) by x and of its negative by y."""
    x, y = place
    f, slope = (x, 1.0) if x < 0.0 else (x**2, 2.0 * x)
    return np.array([slope * (y - 1.0), -(f - 1.0)])


def simultaneous(field: Field, rate: float = RATE, pull: float = 0.0) -> Step:
    """Both move at once, with pull |θ - mean|² in their costs."""
    return lambda place, mean: place - rate * (field(place) + 2.0 * pull * (place - mean))


def alternating(field: Field) -> Step:
    """First x moves, and y answers."""

    def moved(place: Floats, mean: Floats) -> Floats:
        first = np.array([place[0] - RATE * field(place)[0], place[1]])
        return np.array([first[0], first[1] - RATE * field(first)[1]])

    return moved


def extragradient(field: Field) -> Step:
    """Both move by the gradients of where they would be after a plain step."""
    return lambda place, mean: place - RATE * field(place - RATE * field(place))


def path(move: Step, start: tuple[float, float], steps: int) -> Floats:
    """All places from a start on, [steps + 1, 2]; the mean is that of all of them so far."""
    place = mean = np.array(start)
    places = [place]
    for step in range(1, steps + 1):
        place = move(place, mean)
        mean = mean + (place - mean) / (step + 1)
        places.append(place)
    return np.stack(places)


def study(at: Conditions) -> Finding:
    """Let the players walk in each way, and see what the distance from the equilibrium does."""
    steps = 10_000
    angle = at.dice().uniform(0.0, 2.0 * math.pi)
    start = (math.cos(angle), math.sin(angle))
    ways = {
        "at once": simultaneous(product_game),
        "alternating": alternating(product_game),
        "extragradient": extragradient(product_game),
        "historical averaging": simultaneous(product_game, pull=PULL),
        "the same, weak": simultaneous(product_game, pull=WEAK_PULL),
    }
    paths = {name: path(move, start, steps) for name, move in ways.items()}
    curved = {
        name: path(simultaneous(curved_game, CURVED_RATE, pull), (-1.0, 0.0), 20_000)
        for name, pull in (("at once", 0.0), ("historical averaging", PULL))
    }
    radius = {name: np.linalg.norm(places, axis=1) for name, places in paths.items()}
    of_curved = {name: np.linalg.norm(places - 1.0, axis=1) for name, places in curved.items()}
    x, y = paths["alternating"].T
    kept = x**2 + y**2 - RATE * x * y
    return Finding(
        [*of_product_game(radius, float(np.ptp(kept) / kept[0])), *of_curved_game(of_curved)],
        drawn(paths, radius, curved),
    )


def of_product_game(radius: dict[str, Floats], change: float) -> list[Number]:
    """Every distance against its closed form; what alternating steps keep changes by so much."""
    exact = 1e-9
    growth = {name: r[1:] / r[:-1] for name, r in radius.items()}
    outwards, inwards = math.sqrt(1.0 + RATE**2), math.sqrt(1.0 - RATE**2 + RATE**4)
    weak = math.sqrt((1.0 - 2.0 * WEAK_PULL * RATE) ** 2 + RATE**2)
    ellipse = math.sqrt((1.0 + RATE / 2.0) / (1.0 - RATE / 2.0))
    r = radius["historical averaging"]
    late = np.geomspace(len(r) // 5, len(r) - 1, 50).astype(int)
    power = float(np.polyfit(np.log(late), np.log(r[late]), 1)[0])
    wanted = -1.0 / (1.0 + 4.0 * PULL**2)
    return [
        Number("at once: growth a step less √(1 + η²), farthest from 0",
               float(np.abs(growth["at once"] - outwards).max()), 0, exact, "spirals outwards"),
        Number("alternating: change of x² + y² - ηxy, as a share of it", change, 0, exact),
        Number("alternating: largest distance over the smallest, less √((1 + η/2) / (1 - η/2))",
               float(np.ptp(radius["alternating"]) / radius["alternating"].min()) + 1.0 - ellipse,
               -RATE**2, exact),
        Number("extragradient: growth a step less √(1 - η² + η⁴), farthest from 0",
               float(np.abs(growth["extragradient"] - inwards).max()), 0, exact),
        # What still circles at that time is small beside the mean, not nothing.
        Number("historical averaging: power of the time by which it comes, less -1/(1 + 4c²)",
               power - wanted, -0.1, 0.1, "finds equilibria"),
        Number("weak averaging: growth a step over √((1 - 2cη)² + η²), at the end",
               float(np.exp(np.log(growth["the same, weak"][-200:]).mean())) / weak,
               1.0 - RATE**3, 1.0 + RATE**3),
    ]  # fmt: skip


def of_curved_game(distance: dict[str, Floats]) -> list[Number]:
    """Measure how far from (1, 1) the last tenth of the steps is; the start is at √5."""
    tenth = len(distance["at once"]) // 10
    return [
        Number("curved game, at once: least distance at the end, of √5 at the start",
               float(distance["at once"][-tenth:].min()), 1.0, 100.0, "extended orbits"),
        Number("curved game, historical averaging: largest distance at the end",
               float(distance["historical averaging"][-tenth:].max()), 0, 0.05,
               "finds equilibria"),
    ]  # fmt: skip


def drawn(paths: dict[str, Floats], radius: dict[str, Floats], curved: dict[str, Floats]) -> Figure:
    """Draw where the players go, how far from the equilibrium they are, and the curved game."""
    figure, (plane, distance, other) = drawing.panels(3, columns=3, height=0.95)
    for name, places in paths.items():
        plane.plot(*places[:150].T, "-", linewidth=1.0)
        distance.loglog(radius[name][:1001], "-", linewidth=1.2, label=name)
    plane.plot(*paths["at once"][0], "ko", markersize=4)
    plane.plot(0.0, 0.0, "k+")
    plane.set_aspect("equal", adjustable="datalim")
    drawing.named(plane, "x·y, the first 150 steps", "x", "y")
    drawing.named(distance, "How far from the equilibrium", "step", "distance", loc="best")
    for name, colour in (("at once", 0), ("historical averaging", 3)):
        other.plot(*curved[name][:6000].T, "-", linewidth=1.0, color=drawing.COLOURS[colour],
                   label=name)  # fmt: skip
    other.plot(1.0, 1.0, "k+")
    other.set_ylim(top=1.5 * other.get_ylim()[1])
    drawing.named(other, "(f(x) - 1)(y - 1), the first 6,000 steps", "x", "y", loc="upper right")
    return figure
