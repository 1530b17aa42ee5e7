/**
 * Coding agents and the tools beside them, whose credentials a user can have put into every machine.
 *
 * The files are those that each tool's own documentation names for Linux; below the home directory.
 */
export const AGENT_CREDENTIALS = {
  "claude-code": [".claude/.credentials.json", ".claude.json"],
  codex: [".codex/auth.json"],
  "gemini-cli": [".gemini/oauth_creds.json", ".gemini/google_accounts.json"],
  opencode: [".local/share/opencode/auth.json"],
  "github-cli": [".config/gh/hosts.yml"],
} as const satisfies Record<string, readonly string[]>;

export type AgentTool = keyof typeof AGENT_CREDENTIALS;

export const AGENT_TOOLS = Object.keys(AGENT_CREDENTIALS) as [AgentTool, ...AgentTool[]];
