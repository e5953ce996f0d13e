/** What a check of a store found, for people and for programs. */

/**
 * | severity | meaning                                                                       |
 * | -------- | ----------------------------------------------------------------------------- |
 * | error    | the store or a file of it cannot be used, or must not be                      |
 * | warning  | it can be used; something is not as any known writer leaves it, or is at risk |
 * | info     | worth knowing                                                                 |
 */
export type Severity = 'error' | 'warning' | 'info';

export interface Finding {
  readonly severity: Severity;
  /** UPPER_SNAKE, stable. */
  readonly code: string;
  /** The structure, and the byte of the file where it begins. */
  readonly at: string;
  readonly what: string;
  /** What to do about it; null where nothing has to be done. */
  readonly mend: string | null;
}

export function finding(
  severity: Severity,
  code: string,
  at: string,
  what: string,
  mend: string | null = null,
): Finding {
  return { severity, code, at, what, mend };
}
