/** Plain data that travels in a run's config; every replica steps by it. */

export type OptimizerConfig =
  | { readonly kind: 'sgd'; readonly momentum: number; readonly weightDecay: number }
  /** Adam (Kingma & Ba 2015, algorithm 1); `adamw` decouples weight decay (Loshchilov & Hutter 2019, algorithm 2). */
  | {
      readonly kind: 'adam' | 'adamw';
      readonly beta1: number;
      readonly beta2: number;
      readonly epsilon: number;
      readonly weightDecay: number;
    };

export type ScheduleConfig =
  | { readonly kind: 'constant' }
  /** Multiplied by `factor` every `everyRounds` rounds. */
  | { readonly kind: 'step'; readonly everyRounds: number; readonly factor: number }
  /** Linear from 0 over `warmupRounds`, then half a cosine down to `finalFraction` of the peak at the last round. */
  | { readonly kind: 'cosine'; readonly warmupRounds: number; readonly finalFraction: number };

/** Everything an optimizer remembers between steps. */
export interface OptimizerState {
  /** Per parameter: `momentum` for sgd; `first_moment`, `second_moment` for adam and adamw. Each [P]. */
  readonly slots: readonly { readonly name: string; readonly values: Float32Array }[];
  /** float64: steps taken, and running products such as beta1^t (kept as products because Math.pow differs between hosts). */
  readonly scalars: readonly { readonly name: string; readonly value: number }[];
}
