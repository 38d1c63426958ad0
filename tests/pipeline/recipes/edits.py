"""What CONTRIBUTING's recipes write into files that there are, for a small one of each.

The files that they add are in the folders beside this module.
"""

from __future__ import annotations

from typing import NamedTuple


class Edit(NamedTuple):
    """`text`, which stands in `file` once, becomes `other`."""

    file: str
    text: str
    other: str


def below(file: str, text: str, lines: str) -> Edit:
    """Lines that come below a text."""
    return Edit(file, text, f"{text}\n{lines}")


METHODS, NETS = "src/monge/objectives/__init__.py", "src/monge/nets/__init__.py"
METHOD_PARAMS, NET_PARAMS = "src/monge/params/methods.py", "src/monge/params/nets.py"
LOWER, SOURCES = "src/monge/export/lower.py", "src/monge/data/sources.py"
PREPARE_PARAMS, PREPARE = "src/monge/params/prepare.py", "src/monge/data/prepare.py"
CATALOGUE, FIGURES = "src/monge/evaluation/catalogue.py", "docs/reference/figures.md"
SERVING, DRAWING = "src/monge/cli/serving.py", "src/monge/server/service.py"

EDITS = {
    "method": [
        below(
            METHODS,
            "from monge.objectives.gan import Gan, GanWatch",
            "from monge.objectives.lsgan import LeastSquares, LeastSquaresWatch",
        ),
        below(METHODS, '    "gan": Gan,', '    "lsgan": LeastSquares,'),
        below(METHODS, '    "gan": GanWatch,', '    "lsgan": LeastSquaresWatch,'),
        below(METHOD_PARAMS, '    "gan": "gan",', '    "lsgan": "lsgan",'),
        Edit(
            METHOD_PARAMS,
            "class MethodSections(Section):\n",
            "class LsganParams(Section):\n"
            '    """Mao et al. 2017."""\n'
            "\n"
            "    learning_rate: LearningRate = 2e-4\n"
            "    critic_steps: OpponentSteps = 1\n"
            "\n"
            "\n"
            "class MethodSections(Section):\n",
        ),
        below(
            METHOD_PARAMS,
            "    gan: GanParams = GanParams()",
            "    lsgan: LsganParams = LsganParams()",
        ),
        Edit("params.yaml", "rpgan (relativistic", "lsgan (least squares), rpgan (relativistic"),
        Edit(
            "params.yaml",
            "  # Used by objective: gan.\n",
            "  # Used by objective: lsgan.\n"
            "  lsgan:\n"
            "    learning_rate: 0.0002\n"
            "    critic_steps: 1\n"
            "  # Used by objective: gan.\n",
        ),
    ],
    "net": [
        Edit(NETS, "import dcgan, mlp, resnet\n", "import dcgan, mlp, resnet, smooth\n"),
        Edit(
            NETS,
            "FAMILIES: dict[str, dict[str, Build]] = {\n",
            "FAMILIES: dict[str, dict[str, Build]] = {\n"
            '    "smooth": {"generator": smooth.generator, "critic": smooth.critic},\n',
        ),
        below(NET_PARAMS, '    "mlp": "mlp",', '    "smooth": "smooth",'),
        Edit(
            NET_PARAMS,
            "class NetSections(Section):\n",
            "class SmoothParams(Section):\n"
            '    """One hidden layer in both networks."""\n'
            "\n"
            "    width: Annotated[int, Field(ge=1, le=65536)] = 32\n"
            "\n"
            "\n"
            "class NetSections(Section):\n",
        ),
        below(
            NET_PARAMS,
            "    mlp: MlpParams = MlpParams()",
            "    smooth: SmoothParams = SmoothParams()",
        ),
        Edit("params.yaml", "resnet, or mlp.", "resnet, smooth, or mlp."),
        Edit(
            "params.yaml",
            "  # Used by net: mlp.",
            "  # Used by net: smooth. Hidden units, in both networks.\n"
            "  smooth:\n"
            "    width: 32\n"
            "  # Used by net: mlp.",
        ),
        Edit(
            LOWER,
            "def _unflatten(",
            "def _silu(graph: Graph, value: Value, _: Any) -> Value:\n"
            '    """x times sigmoid(x)."""\n'
            '    return graph.add("Mul", value, graph.add("Sigmoid", value).name)\n'
            "\n"
            "\n"
            "def _unflatten(",
        ),
        below(
            LOWER,
            '    nn.ReLU: lambda graph, value, _: graph.add("Relu", value),',
            "    nn.SiLU: _silu,",
        ),
    ],
    "source": [
        Edit(
            SOURCES,
            '    if params.source == "folder":\n',
            '    if params.source == "stripes":\n'
            "        return _stripes()\n"
            '    if params.source == "folder":\n',
        ),
        Edit(
            SOURCES,
            "def _folder(",
            "def _stripes() -> Source:\n"
            '    """100 pictures of 8 x 8 with a bright column, and 100 with a bright row."""\n'
            "    items = []\n"
            "    for number in range(100):\n"
            "        bright = np.zeros((8, 8), np.uint8)\n"
            "        bright[:, number % 8] = 100 + number\n"
            '        items.append((f"columns/{number}", bright))\n'
            '        items.append((f"rows/{number}", bright.T.copy()))\n'
            '    return Source({"kind": "stripes"}, iter(items), len(items))\n'
            "\n"
            "\n"
            "def _folder(",
        ),
        Edit(PREPARE_PARAMS, '"digits", ', '"digits", "stripes", '),
        Edit("params.yaml", "scikit-learn), folder", "scikit-learn), stripes, folder"),
    ],
    "figure": [
        Edit(
            CATALOGUE,
            "from monge.metrics.sharpness import least_sharpness, sharpness\n",
            "from monge.metrics.brightness import brightness_gap\n"
            "from monge.metrics.sharpness import least_sharpness, sharpness\n",
        ),
        Edit(
            CATALOGUE,
            '    "levels_tv": Entry(',
            '    "brightness_gap": Entry(_PIXELS, "lower", "difference of the mean levels", '
            "brightness_gap),\n"
            '    "levels_tv": Entry(',
        ),
        Edit(
            FIGURES,
            "| `levels_tv` |",
            "| `brightness_gap` | lower | difference of the mean levels |  |\n| `levels_tv` |",
        ),
    ],
    "option": [
        below(
            SERVING,
            "    max_images: MaxImages = 1024,",
            '    least_images: Annotated[int, typer.Option(min=1, help="Of one request.")] = 1,',
        ),
        Edit(
            SERVING,
            "Limits(images=max_images, queue_images=queue_images, timeout_s=timeout_s)\n",
            "Limits(\n"
            "        images=max_images, least_images=least_images, queue_images=queue_images,\n"
            "        timeout_s=timeout_s,\n"
            "    )  # fmt: skip\n",
        ),
        below(DRAWING, "    images: int = 1024", "    least_images: int = 1"),
        Edit(
            DRAWING,
            "        size = n * math.prod(",
            "        if n < self.limits.least_images:\n"
            '            least = self.limits.least_images\n'
            '            raise InputError(f"{n} images: ask for {least} or more.")\n'
            "        size = n * math.prod(",
        ),
    ],
    "parameter": [
        below(
            PREPARE_PARAMS,
            '    fit: Literal["crop", "pad"] = "crop"',
            "    inverted: bool = False",
        ),
        Edit(
            "params.yaml",
            "  # What is white: full",
            "  # Black is white.\n  inverted: false\n  # What is white: full",
        ),
        below(
            PREPARE,
            "                taken = images[rows[part]]",
            "                taken = 255 - taken if params.inverted else taken",
        ),
    ],
}  # fmt: skip
"""By the recipe."""
