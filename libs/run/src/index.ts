export {
  addCredits,
  createCreditLedger,
  creditedAs,
  creditsView,
  partsOf,
  type Credited,
  type CreditLedger,
  type Credits,
  type CreditsView,
  type NameCredit,
  type TeamCredit,
} from './credits.js';
export { DECISION_KINDS, decisionText, isWarnedOf, bannedText, parkedText, waitingText, type DecisionKind } from './decisions.js';
export { type RunEvent } from './events.js';
export {
  CURVE_COLOURS,
  drawChart,
  PRINTED,
  type ChartCurve,
  type ChartDrawing,
  type ChartPalette,
  type ChartPoint,
} from './chart/draw.js';
export { ticksAround, ticksWithin } from './chart/ticks.js';
export { REPORT_FILE, reportPage, type ReportedFile, type ReportedRun } from './report/report.js';
export { joinBytes, optimizerSlotsOf, roundTraffic, type Exchange, type RoundTraffic } from './traffic.js';
export { roundSpeeds, speedOf, usualRoundMs } from './speed.js';
export { escapeMarkup } from './markup.js';
export { findProblem, type Finding, type Symptoms } from './finding.js';
export { createRunHistory, decodeEntry, encodeEntry, roundOf, type HistoryEntry, type RunHistory } from './history.js';
export {
  isAverageBetter,
  lossOf,
  MAX_PLAY_CHARACTERS,
  MAX_PRIME_CHARACTERS,
  MAX_WORKERS_SHOWN,
  POINT_FIELDS,
  type Access,
  type ApiError,
  type Ban,
  type BansView,
  type ControlReply,
  type ControlRequest,
  type CorpusView,
  type EvaluationPoint,
  type EventKind,
  type EventsView,
  type FlowState,
  type FlowView,
  type GradientFlow,
  type HistoryView,
  type IceServerView,
  type NetworkView,
  type LiveHello,
  type LiveMessage,
  type LoggedEvent,
  type PastRun,
  type PeerView,
  type PlayMessage,
  type PlayRequest,
  type PointColumns,
  type PointField,
  type RoundPoint,
  type RoundTiming,
  type RunFacts,
  type RunHeader,
  type RunPhase,
  type RunStatus,
  type RunsView,
  type RunView,
  type SamplePoint,
  type SamplesView,
  type WorkerState,
  type WorkerView,
} from './view.js';
