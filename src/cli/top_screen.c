/* weft top's screen. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/top.h"

#ifndef HAVE_NCURSES

bool screen_begin(struct error *err)
{
    return error_set(err,
                     "this weft was built without ncurses and has no screen; install libncurses-dev and build again, "
                     "or use -b or --json");
}

void screen_end(void)
{
}

void screen_draw(const char *text, unsigned scroll)
{
}

bool screen_wait(double seconds, const char *text, unsigned *scroll)
{
    return false;
}

#else

#include <ncurses.h>

void screen_draw(const char *text, unsigned scroll)
{
    int rows, cols, y = 0;
    getmaxyx(stdscr, rows, cols);
    erase();
    unsigned line = 0;
    for (const char *at = text; *at != 0 && y < rows; line++) {
        int n = (int)strcspn(at, "\n");
        bool head = line == 0;
        if (head || line > scroll) {
            if (head || strncmp(at, "guest ", 6) == 0 || strncmp(at, "host ", 5) == 0 ||
                strncmp(at, "    tid", 7) == 0) {
                attron(A_REVERSE);
            } else if (memmem(at, (size_t)n, "DEVIATES", 8) != NULL) {
                attron(A_BOLD);
            }
            mvaddnstr(y, 0, at, n < cols ? n : cols);
            if ((termattrs() & A_REVERSE) != 0 && (head || strncmp(at, "guest ", 6) == 0)) {
                for (int x = n; x < cols; x++) {
                    addch(' ');
                }
            }
            attrset(A_NORMAL);
            y++;
        }
        at += n + (at[n] == '\n');
    }
    refresh();
}

static unsigned lines_of(const char *text)
{
    unsigned n = 0;
    for (; *text != 0; text++) {
        n += *text == '\n';
    }
    return n;
}

/* Waits for a key or the next look; false = the end. */
bool screen_wait(double seconds, const char *text, unsigned *scroll)
{
    unsigned lines = lines_of(text), page = LINES > 3 ? (unsigned)LINES - 2 : 1;
    double left = seconds;
    for (; left > 0; left -= 0.1) {
        timeout((int)(left < 0.1 ? left * 1000 : 100));
        int key = getch();
        unsigned most = lines > (unsigned)LINES ? lines - (unsigned)LINES : 0, was = *scroll;
        if (key == 'q' || key == 'Q' || key == 27) {
            return false;
        } else if (key == KEY_DOWN || key == 'j') {
            ++*scroll;
        } else if (key == KEY_UP || key == 'k') {
            *scroll -= *scroll > 0;
        } else if (key == KEY_NPAGE || key == ' ') {
            *scroll += page;
        } else if (key == KEY_PPAGE) {
            *scroll -= *scroll < page ? *scroll : page;
        } else if (key == KEY_HOME) {
            *scroll = 0;
        }
        *scroll = *scroll > most ? most : *scroll;
        if (*scroll != was || key == KEY_RESIZE) {
            screen_draw(text, *scroll);
        }
    }
    return true;
}

bool screen_begin(struct error *err)
{
    if (!isatty(STDOUT_FILENO) || getenv("TERM") == NULL || newterm(NULL, stdout, stdin) == NULL) {
        return error_set(err, "weft top needs a terminal; use -b for text or --json");
    }
    cbreak();
    noecho();
    keypad(stdscr, TRUE);
    curs_set(0);
    set_escdelay(50);
    return true;
}

void screen_end(void)
{
    if (stdscr != NULL && !isendwin()) {
        endwin();
    }
}

#endif
