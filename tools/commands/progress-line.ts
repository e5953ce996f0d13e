import type { Io } from './command.ts';

const BAR_CELLS = 24;
const MIB = 1 << 20;
/** Without a terminal a line is written whenever so much has come. */
const STEP_PERCENT = 25;

/** How far a transfer is: one line that is drawn over on a terminal, a few lines in a log. */
export class ProgressLine {
  readonly #io: Pick<Io, 'err' | 'isTerminal'>;
  readonly #what: string;
  #shown = '';
  #lastStep = -1;

  constructor(io: Pick<Io, 'err' | 'isTerminal'>, what: string) {
    this.#io = io;
    this.#what = what;
  }

  show(receivedBytes: number, totalBytes: number | undefined): void {
    const mib = (bytes: number): string => (bytes / MIB).toFixed(1);
    const percent =
      totalBytes === undefined || totalBytes === 0
        ? undefined
        : Math.floor((100 * receivedBytes) / totalBytes);
    const amount = `${mib(receivedBytes)}${totalBytes === undefined ? '' : ` of ${mib(totalBytes)}`} MiB`;
    if (!this.#io.isTerminal) {
      const step = percent === undefined ? -1 : Math.floor(percent / STEP_PERCENT);
      if (step <= this.#lastStep) return;
      this.#lastStep = step;
      this.#io.err(`${this.#what}: ${percent ?? 0} %, ${amount}\n`);
      return;
    }
    const cells = percent === undefined ? 0 : Math.round((BAR_CELLS * percent) / 100);
    const bar = `${'#'.repeat(cells)}${'.'.repeat(BAR_CELLS - cells)}`;
    const line = `${this.#what} [${bar}] ${percent === undefined ? '' : `${percent} %, `}${amount}`;
    if (line === this.#shown) return;
    this.#shown = line;
    this.#io.err(`\r\x1b[2K${line}`);
  }

  end(): void {
    if (this.#shown !== '') this.#io.err('\n');
    this.#shown = '';
  }
}
