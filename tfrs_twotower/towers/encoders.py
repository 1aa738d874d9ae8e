"""The encoders that a tower can have. To add one: one file, one line here, one golden entry."""

from tfrs_twotower.towers.cin import CIN, CINEncoder
from tfrs_twotower.towers.comirec import ComiRec, ComiRecEncoder
from tfrs_twotower.towers.dcn import DCN, DCNEncoder
from tfrs_twotower.towers.fm import FMCandidate, FMEncoder, FMQuery
from tfrs_twotower.towers.gru4rec import GRU4Rec, GRU4RecEncoder
from tfrs_twotower.towers.hstu import HSTU, HSTUEncoder
from tfrs_twotower.towers.mind import MIND, MINDEncoder
from tfrs_twotower.towers.mlp import MLP, MLPEncoder
from tfrs_twotower.towers.parallel import ParallelCandidate, ParallelEncoder, ParallelQuery
from tfrs_twotower.towers.registry import ENCODERS, build_encoder, check_encoder
from tfrs_twotower.towers.sasrec import SASRec, SASRecEncoder
from tfrs_twotower.towers.search_attend import SearchThenAttend, SearchThenAttendEncoder
from tfrs_twotower.towers.senet import SENet, SENetEncoder

__all__ = ["ENCODERS", "build_encoder", "check_encoder"]

ENCODERS.update({
    MLP: MLPEncoder,
    GRU4Rec: GRU4RecEncoder,
    SASRec: SASRecEncoder,
    HSTU: HSTUEncoder,
    SearchThenAttend: SearchThenAttendEncoder,
    MIND: MINDEncoder,
    ComiRec: ComiRecEncoder,
    DCN: DCNEncoder,
    CIN: CINEncoder,
    FMQuery: FMEncoder,
    FMCandidate: FMEncoder,
    SENet: SENetEncoder,
    ParallelQuery: ParallelEncoder,
    ParallelCandidate: ParallelEncoder,
})
