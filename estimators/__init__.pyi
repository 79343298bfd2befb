from .analytic.ncm import NCMClassifier as NCMClassifier
from .analytic.random_projection import (
    RandomProjectionClassifier as RandomProjectionClassifier,
)
from .analytic.random_projection import (
    RandomProjectionRegressor as RandomProjectionRegressor,
)
from .analytic.slda import SLDAClassifier as SLDAClassifier
from .base import ContinualClassifier as ContinualClassifier
from .base import ContinualRegressor as ContinualRegressor
from .baselines.cumulative import CumulativeClassifier as CumulativeClassifier
from .baselines.frozen import FrozenClassifier as FrozenClassifier
from .baselines.joint import JointClassifier as JointClassifier
from .baselines.joint import JointRegressor as JointRegressor
from .baselines.naive import NaiveClassifier as NaiveClassifier
from .baselines.naive import NaiveRegressor as NaiveRegressor
from .distillation.features import FeatureDistillationClassifier as FeatureDistillationClassifier
from .distillation.lwf import LwFClassifier as LwFClassifier
from .distillation.lwf import LwFRegressor as LwFRegressor
from .distillation.relations import RelationDistillationClassifier as RelationDistillationClassifier
from .isolation.hat import HATClassifier as HATClassifier
from .isolation.independent import (
    IndependentClassifier as IndependentClassifier,
)
from .isolation.independent import (
    IndependentRegressor as IndependentRegressor,
)
from .isolation.packnet import PackNetClassifier as PackNetClassifier
from .isolation.progressive import ProgressiveClassifier as ProgressiveClassifier
from .meta.la_maml import LaMAMLClassifier as LaMAMLClassifier
from .meta.mer import MERClassifier as MERClassifier
from .modules import MLP as MLP
from .modules import ConvNet as ConvNet
from .net import ContinualNet as ContinualNet
from .net import ContinualRegressionNet as ContinualRegressionNet
from .network import NetworkClassifier as NetworkClassifier
from .network import NetworkRegressor as NetworkRegressor
from .pipeline import IncrementalPipeline as IncrementalPipeline
from .pipeline import make_incremental_pipeline as make_incremental_pipeline
from .registry import all_estimators as all_estimators
from .regularization.anchored import AnchoredClassifier as AnchoredClassifier
from .regularization.anchored import AnchoredRegressor as AnchoredRegressor
from .regularization.ewc import EWCClassifier as EWCClassifier
from .regularization.ewc import EWCRegressor as EWCRegressor
from .regularization.mas import MASClassifier as MASClassifier
from .regularization.mas import MASRegressor as MASRegressor
from .regularization.rwalk import RWalkClassifier as RWalkClassifier
from .regularization.si import SIClassifier as SIClassifier
from .regularization.si import SIRegressor as SIRegressor
from .replay.agem import AGEMClassifier as AGEMClassifier
from .replay.agem import AGEMRegressor as AGEMRegressor
from .replay.der import DERClassifier as DERClassifier
from .replay.der import DERRegressor as DERRegressor
from .replay.er_ace import ERACEClassifier as ERACEClassifier
from .replay.gdumb import GDumbClassifier as GDumbClassifier
from .replay.gem import GEMClassifier as GEMClassifier
from .replay.generative import GenerativeReplayClassifier as GenerativeReplayClassifier
from .replay.icarl import ICaRLClassifier as ICaRLClassifier
from .replay.replay import ReplayClassifier as ReplayClassifier
from .replay.replay import ReplayRegressor as ReplayRegressor
from .stacked import partial_fit_together as partial_fit_together
