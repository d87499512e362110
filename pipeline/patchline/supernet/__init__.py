"""Once-for-all supernet of inverted residual blocks: spaces, elastic layers, training, sub-network extraction."""

from patchline.supernet.architecture import Architecture, Block, build_network
from patchline.supernet.extract import StaticNet, extract
from patchline.supernet.model import Supernet
from patchline.supernet.space import SPACES, Space, Stage
from patchline.supernet.store import load_static, load_supernet, save_static, save_supernet

__all__ = [
    "SPACES",
    "Architecture",
    "Block",
    "Space",
    "Stage",
    "StaticNet",
    "Supernet",
    "build_network",
    "extract",
    "load_static",
    "load_supernet",
    "save_static",
    "save_supernet",
]
