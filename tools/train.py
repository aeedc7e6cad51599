"""Train a shipped model; run it again to resume.

python tools/train.py                                   the diffusion model
python tools/train.py training=factor_predictor         the attribute predictor
python tools/train.py training=factor_faces_t2i         the text-to-image model
python tools/train.py training=factor_faces_flow        the rectified-flow transformer
python tools/train.py training=factor_faces_flow_unet   the U-Net to compare it with
python tools/train.py training=replica training.seed=1  one of several trainings, kept on the way
python tools/train.py training.images=1000000           see more pictures (resumes, if there is a checkpoint)
"""

from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from training.diffusion import DiffusionTraining, train_diffusion
from training.flow import FlowTraining, train_flow
from training.predictor import PredictorTraining, train_predictor
from training.text_to_image import TextToImageTraining, train_text_to_image

ConfigStore.instance().store(group="schema/training", name="diffusion", node=DiffusionTraining)
ConfigStore.instance().store(group="schema/training", name="flow", node=FlowTraining)
ConfigStore.instance().store(group="schema/training", name="predictor", node=PredictorTraining)
ConfigStore.instance().store(group="schema/training", name="text_to_image", node=TextToImageTraining)


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> None:
    settings: Any = OmegaConf.to_object(cfg.training)
    out = Path(cfg.out)
    if isinstance(settings, PredictorTraining):
        print(train_predictor(settings, out))
    elif isinstance(settings, TextToImageTraining):
        print(train_text_to_image(settings, out))
    elif isinstance(settings, FlowTraining):
        print(train_flow(settings, out))
    else:
        print(train_diffusion(settings, out))


if __name__ == "__main__":
    main()
