# Completes command lines of lockc in fish: lockc completions fish | source

function __lockc_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    # Its quotes may still be open.
    set -l end (string unescape -- $current $current\" $current\')[1]
    set -l lines (command $words[1] __complete -- $words[2..] "$end" 2>/dev/null)
    switch "$lines[1]"
        case words
            printf '%s\n' $lines[2..]
        case files
            __fish_complete_path $current
        case 'command *'
            set -l first (math (string replace 'command ' '' -- $lines[1]) + 1)
            set -l command (string escape -- $words[$first..]) $current
            complete -C (string join ' ' -- $command)
    end
end

complete -c lockc -f -k -a '(__lockc_complete)'
