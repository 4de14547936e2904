/** How an optimizer steps and how its learning rate changes: plain data of a run's config. */
export { type OptimizerConfig, type ScheduleConfig } from '@troupe/config';

/** Everything that an optimizer keeps between steps. */
export interface OptimizerState {
  /** Per parameter: `momentum` for sgd; `first_moment`, `second_moment` for adam and adamw. Each [P]. */
  readonly slots: readonly { readonly name: string; readonly values: Float32Array }[];
  /** float64: steps taken, and running products such as beta1^t (kept as products because Math.pow differs between hosts). */
  readonly scalars: readonly { readonly name: string; readonly value: number }[];
}
