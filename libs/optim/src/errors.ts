export class OptimError extends Error {
  override readonly name = 'OptimError';
  readonly code: 'out_of_memory' | 'bad_length' | 'bad_state' | 'not_finite';
  readonly remedy: string;
  constructor(code: OptimError['code'], message: string, remedy: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.remedy = remedy;
  }
}
