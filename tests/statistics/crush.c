/* crush.c - TestU01's SmallCrush, or some tests of its Crush, on the 32-bit words of stdin.
 *
 *     crush version
 *     crush small
 *     crush crush FIRST LAST      tests FIRST..LAST of 1..96, one after the other
 *
 * Each p-value is a line "p-value<tab>test<tab>name<tab>p<tab>words read so far", as soon as there
 * is one; other lines are TestU01's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bbattery.h>
#include <swrite.h>
#include <unif01.h>

enum { N_WORD = 1 << 16, N_CRUSH = 96 };

static unsigned int words[N_WORD];
static size_t at = N_WORD;
static unsigned long long n_read; /* in units of N_WORD */

static unsigned int next_word(void)
{
    if (at == N_WORD) {
        if (fread(words, sizeof *words, N_WORD, stdin) != N_WORD) {
            fprintf(stderr, "stdin ended\n");
            exit(EXIT_FAILURE);
        }
        at = 0;
        n_read++;
    }
    return words[at++];
}

/* SmallCrush numbers its own p-values; a repeated test of Crush has the number asked for. */
static void report(int test)
{
    for (int i = 0; i < bbattery_NTests; i++)
        printf("p-value\t%d\t%s\t%.17g\t%llu\n", test ? test : i + 1, bbattery_TestNames[i],
               bbattery_pVal[i], n_read * N_WORD - (N_WORD - at));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    unif01_Gen *gen = unif01_CreateExternGenBits("stdin", next_word);
    swrite_Basic = FALSE;
    if (argc == 2 && strcmp(argv[1], "version") == 0) {
        printf("%s\n", PACKAGE_STRING);
    } else if (argc == 2 && strcmp(argv[1], "small") == 0) {
        bbattery_SmallCrush(gen);
        report(0);
    } else if (argc == 4 && strcmp(argv[1], "crush") == 0) {
        for (int test = atoi(argv[2]); test <= atoi(argv[3]); test++) {
            int repeat[N_CRUSH + 1] = {0};
            repeat[test] = 1;
            bbattery_RepeatCrush(gen, repeat);
            report(test);
        }
    } else {
        fprintf(stderr, "crush version | crush small | crush crush FIRST LAST\n");
        return EXIT_FAILURE;
    }
    unif01_DeleteExternGenBits(gen);
    return EXIT_SUCCESS;
}
