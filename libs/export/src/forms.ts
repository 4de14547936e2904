/** What a trained model can be taken home as. */
export const MODEL_FORMS = ['web', 'pytorch', 'onnx', 'tfjs', 'weights'] as const;
export type ModelForm = (typeof MODEL_FORMS)[number];
