from .analytic.first_session import FirstSessionClassifier as FirstSessionClassifier
from .analytic.ncm import NCMClassifier as NCMClassifier
from .analytic.random_projection import (
    RandomProjectionClassifier as RandomProjectionClassifier,
)
from .analytic.random_projection import (
    RandomProjectionRegressor as RandomProjectionRegressor,
)
from .analytic.slda import SLDAClassifier as SLDAClassifier
from .base import ContinualClassifier as ContinualClassifier
from .base import ContinualEstimator as ContinualEstimator
from .base import ContinualRegressor as ContinualRegressor
from .baselines.constant import LastLabelClassifier as LastLabelClassifier
from .baselines.constant import LastValueRegressor as LastValueRegressor
from .baselines.constant import MajorityClassifier as MajorityClassifier
from .baselines.constant import MeanRegressor as MeanRegressor
from .baselines.cumulative import CumulativeClassifier as CumulativeClassifier
from .baselines.fresh import FreshClassifier as FreshClassifier
from .baselines.fresh import FreshRegressor as FreshRegressor
from .baselines.frozen import FrozenClassifier as FrozenClassifier
from .baselines.joint import JointClassifier as JointClassifier
from .baselines.joint import JointRegressor as JointRegressor
from .baselines.naive import NaiveClassifier as NaiveClassifier
from .baselines.naive import NaiveRegressor as NaiveRegressor
from .baselines.refitted import RefittedClassifier as RefittedClassifier
from .baselines.refitted import RefittedRegressor as RefittedRegressor
from .baselines.refitted import continualize as continualize
from .boundaries import DriftBoundaries as DriftBoundaries
from .columns import IncrementalColumnTransformer as IncrementalColumnTransformer
from .distillation.features import FeatureDistillationClassifier as FeatureDistillationClassifier
from .distillation.lwf import LwFClassifier as LwFClassifier
from .distillation.lwf import LwFRegressor as LwFRegressor
from .distillation.relations import RelationDistillationClassifier as RelationDistillationClassifier
from .encoders import DateParts as DateParts
from .encoders import IncrementalOneHotEncoder as IncrementalOneHotEncoder
from .encoders import IncrementalOrdinalEncoder as IncrementalOrdinalEncoder
from .engine.call import Call as Call
from .engine.loop import Descend as Descend
from .engine.memory import Drawn as Drawn
from .engine.memory import ReplayMemory as ReplayMemory
from .engine.modules import MLP as MLP
from .engine.modules import ConvNet as ConvNet
from .engine.modules import Features as Features
from .engine.modules import features_and_outputs as features_and_outputs
from .engine.modules import frozen_copy as frozen_copy
from .engine.muon import MuonAdamW as MuonAdamW
from .engine.net import ContinualNet as ContinualNet
from .engine.net import ContinualRegressionNet as ContinualRegressionNet
from .engine.objective import Objective as Objective
from .engine.objective import with_groups as with_groups
from .engine.passes import Passes as Passes
from .engine.passes import forward_together as forward_together
from .engine.penalties import add_quadratic_gradient as add_quadratic_gradient
from .engine.penalties import combined_mean as combined_mean
from .engine.penalties import distillation_loss as distillation_loss
from .engine.penalties import step_implicitly as step_implicitly
from .engine.per_sample import sum_over_samples as sum_over_samples
from .engine.rows import Rows as Rows
from .engine.stacking import partial_fit_together as partial_fit_together
from .federated import average_networks as average_networks
from .isolation.adapters import AdapterClassifier as AdapterClassifier
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
from .parameters import above as above
from .parameters import at_least as at_least
from .parameters import between as between
from .parameters import one_of as one_of
from .pipeline import IncrementalPipeline as IncrementalPipeline
from .pipeline import make_incremental_pipeline as make_incremental_pipeline
from .plasticity.continual_backprop import ContinualBackpropClassifier as ContinualBackpropClassifier
from .plasticity.continual_backprop import ContinualBackpropRegressor as ContinualBackpropRegressor
from .plasticity.shrink_perturb import ShrinkPerturbClassifier as ShrinkPerturbClassifier
from .plasticity.shrink_perturb import ShrinkPerturbRegressor as ShrinkPerturbRegressor
from .plasticity.upgd import UPGDClassifier as UPGDClassifier
from .plasticity.upgd import UPGDRegressor as UPGDRegressor
from .pretrained.frozen_features import FrozenFeatures as FrozenFeatures
from .pretrained.text_net import NamedInputs as NamedInputs
from .pretrained.text_net import TextNet as TextNet
from .pretrained.text_net import Tokens as Tokens
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
from .retention import Update as Update
from .retention import retention as retention
from .retention import snapshot as snapshot
from .retention import would_forget as would_forget
from .search import ContinualSearchCV as ContinualSearchCV
from .search import ContinualSplit as ContinualSplit
from .strategy import NetworkClassifier as NetworkClassifier
from .strategy import NetworkRegressor as NetworkRegressor
from .strategy import NetworkStrategy as NetworkStrategy
from .table import Columns as Columns
from .table import TableEncoder as TableEncoder
from .table import find_columns as find_columns
from .table import leave_out as leave_out
from .targets import ScaledTargetRegressor as ScaledTargetRegressor
