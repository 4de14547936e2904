export {
  CODED_BYTES,
  charactersOf,
  firstWindow,
  GRADIENT_CODECS,
  isLocal,
  LIMITS,
  retainedUpdates,
  roundCharacters,
  roundOptimizer,
  roundsOfWindows,
  streamCharacters,
  unitStreams,
  type GradientCodec,
  type Limits,
  type SaidOfRounds,
  type Topology,
  type TrainingConfig,
} from '@troupe/config';
export { aborted } from './aborted.js';
export { addressKey, machineKey, remoteKey } from './address-key.js';
export { NO_REST, nextSlowRest, type SlowRest } from './slow-rest.js';
export {
  createChannel,
  receiveWithin,
  type Channel,
  type ChannelOptions,
  type FrameLink,
  type BodyReader,
  type Received,
  type Streamed,
  type Wait,
} from './channel.js';
export { decodeMessage, encodeMessage, selectVersion } from './codec.js';
export { createDoorkeeper, type Doorkeeper, type DoorSocket } from './doorkeeper.js';
export { ProtocolError, refusal, type ProtocolErrorCode } from './errors.js';
export { encodeFrames, openTransfer, type OpenTransfer } from './frames.js';
export {
  decodeLeaseBody,
  encodeLeaseBody,
  leaseBodyBytes,
  type LeaseContent,
  type LeaseParts,
  type LeaseShape,
} from './lease-body.js';
export { createSendBudget, type Eviction, type SendBudget, type SendBudgetOptions } from './send-budget.js';
export { MessageBudget, type MessageRate } from './message-budget.js';
export { Strangers, type Stranger } from './strangers.js';
export { brief, printable, printableLines, sameText, sentence } from './text.js';
export {
  AUDIT_MODES,
  CONTRIBUTION_REFUSALS,
  DECLINE_CODES,
  isLostRace,
  isOvertaken,
  MESSAGE_SCHEMAS,
  PROTOCOL_VERSION,
  STOP_CODES,
  type AuditMode,
  type ContributionRefusal,
  type DeclineCode,
  type Message,
  type MessageOf,
  type MessageType,
  type StopCode,
} from './messages.js';
