/** Which rows of a long table are drawn at each update: drawing all of 200 rows four times a second would cost more than all charts. */

/** A table with more rows than this draws only some of them at each update. */
const MAX_ROWS_AT_ONCE = 40;
/** A row out of sight is drawn at every fifth update. */
const TURNS = 5;
/** At most this many new rows are created in one frame. */
const MAX_NEW_ROWS = 40;

export interface TableState {
  /** Rows that exist already. */
  isKnown(id: string): boolean;
  isInSight(id: string): boolean;
  /** Counts updates. */
  readonly turn: number;
  /** Texts have changed: every row is drawn. */
  readonly all: boolean;
}

export interface RowPlan {
  /** In this order; rows that are left out are created in a later frame. */
  readonly rows: readonly { readonly id: string; readonly isNew: boolean; readonly draw: boolean }[];
  /** False: call again in the next frame. */
  readonly isComplete: boolean;
}

/** @param ids of all rows, in their order */
export function planRows(ids: readonly string[], { isKnown, isInSight, turn, all }: TableState): RowPlan {
  const everyRow = all || ids.length <= MAX_ROWS_AT_ONCE;
  let newRows = 0;
  const rows = ids.flatMap((id, index) => {
    const isNew = !isKnown(id);
    if (isNew && ++newRows > MAX_NEW_ROWS) return [];
    return [{ id, isNew, draw: everyRow || isNew || index % TURNS === turn % TURNS || isInSight(id) }];
  });
  return { rows, isComplete: newRows <= MAX_NEW_ROWS };
}
