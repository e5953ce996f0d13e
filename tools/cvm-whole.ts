/** The whole tool once it is known that more than its version is asked for. */
import { COMMANDS } from './commands/table.ts';
import { main } from './cvm.ts';

void main('cvm', 'Builds, blesses, measures and verifies confidential-VM images.', COMMANDS);
