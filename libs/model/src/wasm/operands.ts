/** Operands of the products dG^T x of weight gradients. */

/** A factor x [rows, width] of a weight gradient dG^T x. */
export interface Factor {
  readonly address: number;
  /** Floats from one row to the next. */
  readonly stride: number;
  readonly width: number;
  /** A multiple of the tile's width; columns of the product from `width` on are zero. */
  readonly paddedWidth: number;
  /** Room for a block of x in panels. */
  readonly panels: number;
}

/** dG [rows, ...], gradients of pre-activations or logits. */
export interface Cotangent {
  readonly address: number;
  readonly stride: number;
}

/** Columns of dG that are multiplied by the same factors. */
export interface Part {
  readonly first: number;
  /** With padding, a multiple of the tile's width. */
  readonly columns: number;
  /** Columns that become rows of the products. */
  readonly used: number;
  readonly products: readonly { readonly factor: Factor; readonly address: number }[];
}

/** Rows k .. k + depth of both factors. */
export interface Block {
  readonly k: number;
  readonly depth: number;
}
