/**
 * What a shell loads to complete banger's words. Each script only asks `banger __complete` and hands over what it
 * says, so that it needs no change when commands do.
 *
 * An answer is a line for each candidate: its text, a tab, its summary. A text that ends in `:` is not complete.
 * A last line `:files` asks for the shell's own completion of files.
 */
export const COMPLETION_SCRIPTS = {
  bash: `# bash completion of banger: eval "$(banger completion bash)"
_banger() {
  local IFS=$'\\n' line current prefix words
  # As typed: readline splits words at ":" and "=", banger does not.
  IFS=$' \\t\\n' read -ra words <<<"\${COMP_LINE:0:COMP_POINT}"
  [[ \${COMP_LINE:COMP_POINT-1:1} == [[:space:]] ]] && words+=("")
  current=\${words[-1]}
  # What readline takes for the current word is only the part behind the last break.
  prefix=""
  if [[ $current == *[:=]* && $COMP_WORDBREAKS == *[:=]* ]]; then prefix=\${current%"\${current##*[:=]}"}; fi
  COMPREPLY=()
  while IFS= read -r line; do
    if [[ $line == :files ]]; then
      compopt -o filenames 2>/dev/null
      while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$current")
      continue
    fi
    line=\${line%%$'\\t'*}
    [[ $line == *: ]] && compopt -o nospace 2>/dev/null
    COMPREPLY+=("\${line#"$prefix"}")
  done < <(banger __complete -- "\${words[@]:1}" 2>/dev/null)
}
complete -F _banger banger
`,
  zsh: `#compdef banger
# zsh completion of banger: source <(banger completion zsh), or as _banger in a directory of $fpath
_banger() {
  local line text files=0
  local -a full open
  for line in "\${(@f)$(banger __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    [[ -z $line ]] && continue
    if [[ $line == :files ]]; then files=1; continue; fi
    text=\${line%%$'\\t'*}
    if [[ $text == *: ]]; then
      open+=("$text")
    else
      full+=("\${text//:/\\\\:}:\${line#*$'\\t'}")
    fi
  done
  (( $#full )) && _describe 'banger' full
  (( $#open )) && compadd -S '' -- $open
  (( files )) && _files
}
if [[ $funcstack[1] == _banger ]]; then _banger "$@"; else compdef _banger banger; fi
`,
  fish: `# fish completion of banger: banger completion fish | source
function __banger_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (banger __complete -- $words[2..-1] 2>/dev/null)
        if test "$line" = ":files"
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c banger -f -a '(__banger_complete)'
`,
} as const;

export type Shell = keyof typeof COMPLETION_SCRIPTS;
