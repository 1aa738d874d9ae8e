"""Towers: fields → encoder → projection → vector."""

from tfrs_twotower.towers.dropout import Dropout
from tfrs_twotower.towers.encoders import ENCODERS, build_encoder
from tfrs_twotower.towers.mlp import MLP
from tfrs_twotower.towers.tower import Tower

__all__ = ["ENCODERS", "MLP", "Dropout", "Tower", "build_encoder"]
