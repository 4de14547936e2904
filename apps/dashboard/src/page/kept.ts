/** One text that outlives a reload; where the browser keeps nothing it lives as long as the page. */
export interface Kept {
  read(): string | undefined;
  write(text: string): void;
  forget(): void;
}

/** What is used of a browser's Storage. */
interface Area {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/** @param area the storage itself may be refused, so it is looked up anew each time */
export function keep(area: () => Area, key: string): Kept {
  /** What storage did not take. */
  let unstored: string | undefined;
  return {
    read() {
      if (unstored !== undefined) return unstored;
      try {
        return area().getItem(key) ?? undefined;
      } catch {
        return undefined;
      }
    },
    write(text) {
      try {
        area().setItem(key, text);
        unstored = undefined;
      } catch {
        unstored = text;
      }
    },
    forget() {
      unstored = undefined;
      try {
        area().removeItem(key);
      } catch {
        // Nothing is kept there.
      }
    },
  };
}
