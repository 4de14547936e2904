export { ProtocolError, type ProtocolErrorCode } from './errors.js';
export { LIMITS, type Limits } from './limits.js';
export { GRADIENT_CODECS, TrainingConfigSchema, type GradientCodec, type TrainingConfig } from './config.js';
export {
  CONTRIBUTION_REFUSALS,
  MESSAGE_SCHEMAS,
  PROTOCOL_VERSION,
  type ContributionRefusal,
  type Message,
  type MessageOf,
  type MessageType,
} from './messages.js';
