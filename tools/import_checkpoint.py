"""Import a checkpoint of the original projects into a folder that diffgeo and diffusers load.

python tools/import_checkpoint.py afhq_p2.pt models/afhq_dog --preset p2_256          AFHQ-dog, FFHQ and others of P2
python tools/import_checkpoint.py celeba_hq.ckpt models/celebahq --preset sdedit_256  CelebA-HQ as in SDEdit
python tools/import_checkpoint.py ema.pt models/mine --image-size 64 --heads 4        your own: see docs/models.md

Options given beside a preset replace its values. Nothing in a checkpoint is executed.
"""

import argparse
from dataclasses import fields, replace
from pathlib import Path

from diffgeo.cli.errors import worded_errors
from diffgeo.errors import ConfigError
from importing import PRESETS, RECORD, Settings, import_checkpoint


def settings_of(args: argparse.Namespace) -> Settings:
    """The preset's, with the options that were given."""
    given = {f.name: v for f in fields(Settings) if (v := getattr(args, f.name, None)) is not None}
    if args.preset is not None:
        for one, other in (("heads", "head_channels"), ("head_channels", "heads")):
            if one in given:
                given.setdefault(other, None)
        return replace(PRESETS[args.preset], **given)
    if args.image_size is None:
        raise ConfigError(
            "the size of the pictures is not given", f"give --image-size, or --preset {'|'.join(PRESETS)}"
        )
    return Settings(**given)


def main(args: argparse.Namespace) -> None:
    done = import_checkpoint(
        args.checkpoint, args.folder, settings_of(args), entry=args.entry, overwrite=args.overwrite
    )
    found = done.architecture
    where = f" (entry {done.entry})" if done.entry else ""
    levels = ", ".join(f"{w}{'*' * a}" for w, a in zip(found.widths, found.attention, strict=True))
    print(f"{done.layout} layout{where}: {done.parameters / 1e6:.2f} M parameters, widths {levels} (* attention)")
    print(f"learned variance: {'yes' if found.learned_variance else 'no'}; SHA-256 {done.sha256} (see {RECORD})")
    print(f"diffgeo model=local model.path={done.folder}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="file: .pt, .pth, .ckpt or .safetensors")
    parser.add_argument("folder", type=Path, help="where to write the pipeline")
    parser.add_argument("--preset", choices=list(PRESETS), help="a published family of checkpoints")
    parser.add_argument("--layout", choices=["auto", "openai", "ddpm"])
    parser.add_argument("--image-size", type=int, help="side of the pictures in pixels")
    parser.add_argument("--heads", type=int, help="attention heads (num_heads)")
    parser.add_argument("--head-channels", type=int, help="channels of a head (num_head_channels), instead")
    parser.add_argument("--qkv", choices=["legacy", "new"], help="new for use_new_attention_order")
    parser.add_argument("--noise-schedule", choices=["linear", "cosine"])
    parser.add_argument("--steps", type=int, help="diffusion steps in training (1000)")
    parser.add_argument(
        "--rescale-timesteps", action=argparse.BooleanOptionalAction, help="the network saw t · 1000 / steps"
    )
    parser.add_argument("--variance", choices=["fixed_small", "fixed_large"], help="where it is not learned")
    parser.add_argument("--entry", help="which network of a file that holds several")
    parser.add_argument("--overwrite", action="store_true", help="replace a pipeline that lies there")
    with worded_errors():
        main(parser.parse_args())
