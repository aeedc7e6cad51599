"""Train a shipped model; run it again to resume.

python scripts/train.py                                   the diffusion model
python scripts/train.py training=factor_predictor         the attribute predictor
python scripts/train.py training=factor_faces_t2i         the text-to-image model
python scripts/train.py training.images=1000000           see more pictures (resumes, if there is a checkpoint)
"""

from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from diffgeo.config import config_folder
from diffgeo.training.diffusion import DiffusionTraining, train_diffusion
from diffgeo.training.predictor import PredictorTraining, train_predictor
from diffgeo.training.text_to_image import TextToImageTraining, train_text_to_image

ConfigStore.instance().store(group="schema/training", name="diffusion", node=DiffusionTraining)
ConfigStore.instance().store(group="schema/training", name="predictor", node=PredictorTraining)
ConfigStore.instance().store(group="schema/training", name="text_to_image", node=TextToImageTraining)


@hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="train")
def main(cfg: DictConfig) -> None:
    settings, out = OmegaConf.to_object(cfg.training), Path(cfg.out)
    if isinstance(settings, PredictorTraining):
        print(train_predictor(settings, out))
    elif isinstance(settings, TextToImageTraining):
        print(train_text_to_image(settings, out))
    else:
        print(train_diffusion(settings, out))


if __name__ == "__main__":
    main()
