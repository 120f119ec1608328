#!/usr/bin/env node
/**
 * The `gyre` command: its subcommands, each from a file of its own. Exit code 2: the command line was
 * wrong; the others are those of each.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Command } from 'commander';
import { addBuildCommand } from './build-command.js';
import { ROOT } from './native-file.js';
import { addProfileCommands } from './profile-command.js';
import { addRunCommand, EXIT_USAGE } from './run-command.js';
import { addTopCommand } from './top-command.js';
import { addTopologyCommand } from './topology-command.js';

const { version } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as {
  version: string;
};

const program = new Command('gyre')
  .description('Serve an unchanged Node server on every CPU, in one process.')
  .version(version)
  .showHelpAfterError('(gyre --help says more)')
  .exitOverride((error) => {
    process.exit(error.exitCode === 0 ? 0 : EXIT_USAGE);
  });

addRunCommand(program);
addTopologyCommand(program);
addTopCommand(program);
addProfileCommands(program);
addBuildCommand(program);

program.parseAsync();
