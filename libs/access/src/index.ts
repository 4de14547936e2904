export {
  AccessError,
  createToken,
  createTokenJudge,
  NO_ACCESS,
  revokeTokens,
  rotateKeys,
  validityOf,
  type AccessState,
  type KnownToken,
  type TokenEntry,
  type TokenJudge,
  type TokenRequest,
  type Validity,
} from './access.js';
export { parsePeriod, PERIOD_IN_WORDS } from './duration.js';
export {
  changeAccess,
  MAX_LABEL_LENGTH,
  parseAccess,
  readAccess,
  readAccessText,
  stampOf,
  type AccessFile,
  type Exposure,
} from './file.js';
export { isSigned, MAX_LINKS, SCOPES, type Scope } from './token.js';
