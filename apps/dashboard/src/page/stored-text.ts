/** A text that survives a reload; where the browser stores nothing, it lasts as long as the page. */
export interface StoredText {
  read(): string | undefined;
  /** @returns false if the browser did not store it, so that it lasts only as long as the page */
  write(text: string): boolean;
  forget(): void;
}

/** The part of a browser's Storage that is used. */
interface StorageArea {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/** @param area called at each access, because the browser may refuse even to return the storage */
export function storedText(area: () => StorageArea, key: string): StoredText {
  /** A text that storage did not accept. */
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
        return true;
      } catch {
        unstored = text;
        return false;
      }
    },
    forget() {
      unstored = undefined;
      try {
        area().removeItem(key);
      } catch {
        // Nothing is stored there.
      }
    },
  };
}
