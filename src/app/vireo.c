// SPDX-License-Identifier: BSD-3-Clause
// vireo: the command line. Finds the command; each has its own --help.
#include "app/vireo.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/run_dir.h"
#include "text/spelling.h"
#include "base/bits.h"
#include "demo/embedded.h"

const char *argp_program_version = "vireo " VIREO_VERSION;

static int vireo_demo(const struct invocation *inv)
{
    return demo_embedded_run(inv->json);
}

struct command {
    const char *name; // one word or two
    const char *args_doc;
    unsigned min_args, max_args;
    bool has_json, has_memory;
    int (*run)(const struct invocation *inv);
    const char *summary; // a line
    const char *doc;     // the rest of its --help
};

static const struct command commands[] = {
    {"stats", "", 0, 0, true, false, vireo_stats, "what the daemon has counted",
     "Per VF: who has it, frames and drops, messages, DMA faults. --json gives everything there "
     "is, in the shape {\"ports\":[{\"vfs\":[…]}],\"worker\":{…},\"iommu_faults\":N}."},
    {"vf list", "", 0, 0, true, false, vireo_vf_list, "the VFs and how they are set",
     "CLIENT is the PID of the QEMU (or driver) that holds the VF, '-' where it is free. API is "
     "what its driver has negotiated over the mailbox."},
    {"vf set", "PORT VF KEY=VALUE…", 3, VIREO_ARGS_MAX, false, false, vireo_vf_set,
     "changes a VF's settings",
     "Keys:\n"
     "  mac=02:00:00:00:00:01   its driver's MAC; all zero: derived from the port's\n"
     "  vlan=0…4094             port VLAN; 0: none\n"
     "  qos=0…7                 priority in the port VLAN's tag\n"
     "  spoofchk=on|off         drop what it sends from a MAC or VLAN not its own\n"
     "  trust=on|off            may it change its MAC and go promiscuous?\n"
     "  link=up|down            administrative link state\n"
     "\n"
     "Takes effect at once; a driver that is up is made to start over. Until the daemon ends: the "
     "config file stays as it is.\n"
     "\n"
     "Example: vireo vf set 0 2 vlan=20 qos=3"},
    {"pci list", "", 0, 0, true, false, vireo_pci_list, "the card's PCI functions",
     "A VF's own vendor and device ID read ffff:ffff on the bus, as PCIe §9.3.4.1 has it: software "
     "takes them from the PF."},
    {"pci dump", "[RID]", 0, 1, false, false, vireo_pci_dump, "config space, for lspci -F",
     "All functions, or the one with the requester ID RID, such as 01:00.0.\n"
     "\n"
     "Example: vireo pci dump > dump && lspci -F dump -vvv"},
    {"qemu-args", "PORT VF", 2, 2, false, true, vireo_qemu_args, "QEMU's arguments to attach a VF",
     "Needs QEMU 10.1 or newer. The VM's memory must be shared (share=on), since the card reads "
     "and writes it. On a terminal the arguments are quoted for pasting, else they are ready for "
     "$(…):\n"
     "\n"
     "  qemu-system-x86_64 -accel kvm -cpu host $(vireo qemu-args 0 0) disk.img\n"
     "\n"
     "For a second VF in the same VM, take only the two -device arguments."},
    {"chassis qemu-args", "", 0, 0, false, true, vireo_chassis_qemu_args,
     "QEMU's arguments to give a VM the whole card",
     "For a daemon that runs with --chassis. The VM's own kernel then enables the VFs, with stock "
     "ixgbe, intel-iommu and vfio-pci. Needs QEMU 10.1 or newer, -machine q35, and no IOMMU of "
     "QEMU's.\n"
     "\n"
     "  qemu-system-x86_64 -accel kvm -cpu host $(vireo chassis qemu-args) disk.img"},
    {"demo", "", 0, 0, true, false, vireo_demo, "shows and checks it all in a few seconds",
     "The embedded form, without QEMU, root or a running daemon: one process holds the card and "
     "its IOMMU, two more drive a VF each with Vireo's own user-space driver, over vfio-user. "
     "Exits non-zero if a check fails."},
    {"version", "", 0, 0, true, false, vireo_version, "of this program and of the daemon", ""},
};

#define MEMORY_DIGITS_MAX 15u

enum { OPTION_RUN_DIR = 0x100, OPTION_JSON, OPTION_MEMORY, OPTION_QEMU };

// --- one command's arguments ---

struct command_parse {
    const struct command *command;
    struct invocation *inv;
};

// Before the command or after it.
#define RUN_DIR_OPTION                                                                             \
    {                                                                                              \
        "run-dir", OPTION_RUN_DIR, "DIR", 0,                                                       \
            "Where the daemon's sockets are (default " RUN_DIR_DEFAULT ")", 0                      \
    }

static const struct argp_option json_options[] = {
    {"json", OPTION_JSON, NULL, 0, "JSON instead of a table", 0}, RUN_DIR_OPTION, {0}};
static const struct argp_option memory_options[] = {
    {"memory", OPTION_MEMORY, "SIZE", 0, "Memory of the VM, as QEMU writes it (default 1G)", 0},
    {"qemu", OPTION_QEMU, "PATH", 0,
     "Fail where this QEMU has no vfio-user-pci (default: a note, of that in PATH)", 0},
    RUN_DIR_OPTION,
    {0}};
static const struct argp_option no_options[] = {RUN_DIR_OPTION, {0}};

// Digits without a leading 0, and at most one of K, M, G, T: QEMU judges the rest.
static bool memory_is_good(const char *text)
{
    size_t digits = strspn(text, "0123456789");

    return digits && digits <= MEMORY_DIGITS_MAX && text[0] != '0' &&
           (!text[digits] || (strchr("KMGT", text[digits]) && !text[digits + 1]));
}

static error_t command_option(int key, char *arg, struct argp_state *state)
{
    struct command_parse *p = state->input;

    switch (key) {
    case OPTION_JSON:
        p->inv->json = true;
        return 0;
    case OPTION_RUN_DIR:
        p->inv->run_dir = arg;
        return 0;
    case OPTION_MEMORY:
        // It becomes part of an argument's list.
        if (!memory_is_good(arg))
            argp_error(state, "--memory: found '%s'; allowed is a size like 512M or 4G", arg);
        p->inv->memory = arg;
        return 0;
    case OPTION_QEMU:
        p->inv->qemu = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (p->inv->arg_count == p->command->max_args)
            argp_error(state, "'%s': one argument too many", arg);
        p->inv->args[p->inv->arg_count++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (p->inv->arg_count < p->command->min_args)
            argp_error(state, "needs %s", p->command->args_doc);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int command_run(const struct command *command, struct invocation *inv, int argc, char **argv)
{
    struct command_parse parse = {command, inv};
    char name[64], *doc = NULL;
    int status;
    struct argp argp = {
        .options = command->has_json     ? json_options
                   : command->has_memory ? memory_options
                                         : no_options,
        .parser = command_option,
        .args_doc = command->args_doc,
    };

    snprintf(name, sizeof name, "vireo %s", command->name);
    if (asprintf(&doc, "vireo %s: %s\v%s", command->name, command->summary, command->doc) < 0)
        return EXIT_FAILURE;
    argp.doc = doc;
    argv[0] = name;
    argp_parse(&argp, argc, argv, 0, NULL, &parse);
    free(doc);
    status = command->run(inv);
    // Who reads our output relies on the status: half a table is no success.
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "%s: cannot write the output: %s\n", name, strerror(errno));
        status = EXIT_FAILURE;
    }
    return status;
}

// --- the program's own options, and which command it is ---

static const struct argp_option options[] = {
    RUN_DIR_OPTION,
    {0},
};

struct arguments {
    struct invocation inv;
    const struct command *command;
    int command_at; // index in argv after the command's words
};

static void command_unknown(struct argp_state *state, const char *word)
{
    const char *names[ARRAY_LEN(commands)];
    const char *near;

    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        names[i] = commands[i].name;
    if (!strcmp(word, "vf") || !strcmp(word, "pci") || !strcmp(word, "chassis"))
        argp_error(state, "which? There is %s",
                   word[0] == 'v'   ? "'vf list' and 'vf set'"
                   : word[0] == 'p' ? "'pci list' and 'pci dump'"
                                    : "'chassis qemu-args'");
    near = spelling_nearest(word, names, ARRAY_LEN(names));
    argp_error(state, "no command '%s'%s%s%s", word, near ? ": did you mean '" : "",
               near ? near : "", near ? "'?" : "");
}

// Matches argv[at…] against all commands; how many words it took, or 0.
static int command_match(char **argv, int at, int argc, const struct command **out)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        const char *space = strchr(commands[i].name, ' ');

        if (!space && !strcmp(commands[i].name, argv[at])) {
            *out = &commands[i];
            return 1;
        }
        if (space && at + 1 < argc && !strncmp(commands[i].name, argv[at], strlen(argv[at])) &&
            commands[i].name + strlen(argv[at]) == space && !strcmp(space + 1, argv[at + 1])) {
            *out = &commands[i];
            return 2;
        }
    }
    return 0;
}

static error_t option_parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *args = state->input;
    int words;

    switch (key) {
    case OPTION_RUN_DIR:
        args->inv.run_dir = arg;
        return 0;
    case ARGP_KEY_ARG:
        words = command_match(state->argv, state->next - 1, state->argc, &args->command);
        if (!words) {
            char text[64];
            bool second = (!strcmp(arg, "vf") || !strcmp(arg, "pci") || !strcmp(arg, "chassis")) &&
                          state->next < state->argc && state->argv[state->next][0] != '-';

            snprintf(text, sizeof text, "%s%s%s", arg, second ? " " : "",
                     second ? state->argv[state->next] : "");
            command_unknown(state, text);
        }
        args->command_at = state->next - 1 + words;
        state->next = state->argc; // the rest is the command's
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

// The list of commands, for --help.
static char *help_filter(int key, const char *text, void *input)
{
    size_t len = 0;
    char *out = NULL;
    FILE *stream;

    (void)input;
    if (key != ARGP_KEY_HELP_POST_DOC)
        return (char *)text;
    stream = open_memstream(&out, &len);
    if (!stream)
        return (char *)text;
    fprintf(stream, "Commands:\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        char name[64];

        snprintf(name, sizeof name, "%s %s", commands[i].name, commands[i].args_doc);
        fprintf(stream, "  %-28s%s%s\n", name, strstr(name, "…") ? "  " : "", commands[i].summary);
    }
    fprintf(stream, "\n'vireo COMMAND --help' says more about each.");
    fclose(stream);
    return out;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = option_parse,
        .args_doc = "COMMAND [ARGUMENT…]",
        .doc = "Asks and steers a running vireod, and shows what Vireo does.\v ",
        .help_filter = help_filter,
    };
    struct arguments args = {.inv = {.run_dir = RUN_DIR_DEFAULT, .memory = "1G"}};

    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &args);
    // argv[command_at - 1], the command's last word, is the place for its name.
    return command_run(args.command, &args.inv, argc - args.command_at + 1,
                       argv + args.command_at - 1);
}
