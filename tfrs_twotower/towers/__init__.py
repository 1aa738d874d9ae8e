"""Towers: fields → encoder → projection → vector."""

from tfrs_twotower.towers.dropout import Dropout
from tfrs_twotower.towers.encoders import ENCODERS, build_encoder
from tfrs_twotower.towers.gru4rec import GRU4Rec
from tfrs_twotower.towers.hstu import HSTU
from tfrs_twotower.towers.mlp import MLP
from tfrs_twotower.towers.sasrec import SASRec
from tfrs_twotower.towers.tower import Tower

__all__ = ["ENCODERS", "HSTU", "MLP", "Dropout", "GRU4Rec", "SASRec", "Tower", "build_encoder"]
