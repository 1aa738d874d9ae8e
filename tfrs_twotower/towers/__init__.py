"""Towers: fields → encoder → projection → vector."""

from tfrs_twotower.towers.cin import CIN
from tfrs_twotower.towers.comirec import ComiRec
from tfrs_twotower.towers.dcn import DCN
from tfrs_twotower.towers.encoder import Encoder, VectorEncoder, build_encoder, check_encoder, makes
from tfrs_twotower.towers.ensemble import EnsembleTower
from tfrs_twotower.towers.fm import FMCandidate, FMQuery
from tfrs_twotower.towers.gru4rec import GRU4Rec
from tfrs_twotower.towers.hstu import HSTU
from tfrs_twotower.towers.identity import Identity
from tfrs_twotower.towers.interests import InterestEncoder
from tfrs_twotower.towers.mind import MIND
from tfrs_twotower.towers.mlp import MLP, Dropout, MLPEncoder
from tfrs_twotower.towers.parallel import ParallelCandidate, ParallelQuery
from tfrs_twotower.towers.sasrec import SASRec
from tfrs_twotower.towers.search_attend import SearchThenAttend
from tfrs_twotower.towers.senet import SENet
from tfrs_twotower.towers.sequence import SequenceEncoder
from tfrs_twotower.towers.tower import Tower

__all__ = [
    "CIN",
    "ComiRec",
    "DCN",
    "Dropout",
    "Encoder",
    "EnsembleTower",
    "FMCandidate",
    "FMQuery",
    "GRU4Rec",
    "HSTU",
    "Identity",
    "InterestEncoder",
    "MIND",
    "MLP",
    "MLPEncoder",
    "ParallelCandidate",
    "ParallelQuery",
    "SASRec",
    "SearchThenAttend",
    "SENet",
    "SequenceEncoder",
    "Tower",
    "VectorEncoder",
    "build_encoder",
    "check_encoder",
    "makes",
]
