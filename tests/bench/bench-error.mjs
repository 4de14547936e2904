/** An error that stops a benchmark, with its reason and a remedy. */
export class BenchError extends Error {
  /** @override */
  name = 'BenchError';

  /**
   * @param {'usage' | 'deadline' | 'ended' | 'run_failed' | 'wrong_result'} code
   * @param {string} message
   * @param {string} remedy
   */
  constructor(code, message, remedy) {
    super(message);
    this.code = code;
    this.remedy = remedy;
  }
}
