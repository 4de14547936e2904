export { ExportError, type ExportErrorCode } from './errors.js';
export { PRECISIONS, roundedTo, type Precision } from './precision.js';
export { decodeWebModel, type TrainedModel, type WebFacts, type WebModel } from './web-model.js';
export { webPage, type Player, type WebPageOptions } from './web-page.js';
