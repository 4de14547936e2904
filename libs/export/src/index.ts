export { ExportError, type ExportErrorCode } from './errors.js';
export type { ExportedFile } from './folder.js';
export { MODEL_FORMS, type ModelForm } from './forms.js';
export { onnxFolder } from './onnx.js';
export { PRECISIONS, roundedTo, type Precision } from './precision.js';
export { pytorchFolder } from './pytorch.js';
export { tfjsFolder } from './tfjs.js';
export { decodeWebModel, type TrainedModel, type WebFacts, type WebModel } from './web-model.js';
export { webPage, type Player, type WebPageOptions } from './web-page.js';
