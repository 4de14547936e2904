/** What stops a benchmark: why, and what to do about it. */
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
