"""``diffgeo --blocks``: the blocks of a model, by which ``feature.block`` names one."""

from __future__ import annotations

from collections.abc import Sequence

from diffgeo.composition import check, composed
from diffgeo.errors import ConfigError

FLAG = "--blocks"


def show_blocks(words: Sequence[str]) -> None:
    """Load the model of a command line and print its blocks.

    Args:
        words: settings; :data:`FLAG` among them.

    Raises:
        ConfigError: a flag beside it, or a setting that is not possible.
        ModelError: the model cannot be loaded.
    """
    settings = [word for word in words if word != FLAG]
    if flags := [word for word in settings if word.startswith("-")]:
        raise ConfigError(f"{flags[0]} does not go with {FLAG}", "leave one of them out")
    cfg = composed(settings)
    check(cfg)
    from rich.console import Console
    from rich.table import Table

    from diffgeo.diffusion.block_listing import list_blocks, modules_within
    from diffgeo.runner.prepare import load_configured

    model = load_configured(cfg)
    table = Table(box=None, pad_edge=False)
    for title in ("feature.block", "shape of h", "multiply-adds up to its end"):
        table.add_column(title, overflow="fold")
    for block in list_blocks(model):
        shape = block.reason if block.shape is None else " × ".join(map(str, block.shape))
        table.add_row(block.name, shape, f"{block.share:.0%}")
    console = Console()
    console.print(f"{model.source}: x is {' × '.join(map(str, model.latent_shape))}", markup=False, highlight=False)
    console.print(table, highlight=False, markup=False)
    inner = next(iter(modules_within(model.unet, model.blocks[len(model.blocks) // 2])), "")
    example = f", such as {inner}" * bool(inner)
    console.print(f"The path of any module within a block is taken, too{example}.", markup=False, highlight=False)
